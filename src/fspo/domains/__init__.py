"""Domains: prompts, users and how users differ. Each is a folder, loaded by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from fspo.errors import FspoError
from fspo.preferences.records import User


class Domain(Protocol):
    """The interface of the module `fspo.domains.<name>`: nothing else has to know the domain."""

    NAME: str
    PERSONAS: Sequence[str]

    def titles(self) -> Mapping[str, Sequence[str]]:
        """Returns what can be asked about, by category."""

    def prompt(self, title: str) -> str:
        """The question that users see."""

    def conversation(self, persona: str, title: str) -> list[dict[str, str]]:
        """Returns what makes a model answer about `title` as that persona would."""

    def fits(self, persona: str, text: str) -> bool:
        """Returns whether `text` is what that persona was to write."""

    def users(
        self, split: str, trained: int, interpolated: int, generator: np.random.Generator
    ) -> list[User]:
        """A balanced population: fours of different tastes, opposites side by side."""

    def measure(self, text: str) -> Mapping[str, float]:
        """Returns what users care about in an answer."""

    def knows(self, user: User) -> bool:
        """Returns whether a user's attributes are of this domain."""

    def utility(self, attributes: Mapping[str, Any], text: str) -> float:
        """Returns how well the user with these attributes likes an answer."""


def load_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        FspoError: if there is no such domain.
    """
    names = domain_names()
    if name not in names:
        nearest = get_close_matches(name, names, n=1, cutoff=0.0)
        raise FspoError(
            f"there is no domain {name!r}; did you mean {nearest[0]!r}? "
            f"There are: {', '.join(names)}."
        )
    return cast(Domain, import_module(f"fspo.domains.{name}"))


def domain_names() -> list[str]:
    """The domains that are programmed; `fspo.domains.described` knows those that are described."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
