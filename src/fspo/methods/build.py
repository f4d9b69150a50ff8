"""From names and folders to methods, each loaded only when its turn comes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fspo.bundled import policy_folder
from fspo.errors import FspoError
from fspo.learning.policy import read_settings
from fspo.methods.baselines import BASELINES
from fspo.methods.method import Method
from fspo.methods.table import load, method_of
from fspo.methods.untrained import ORACLE, UNTRAINED, Given, PersonalRecipe
from fspo.methods.untrained.best_of import BestOf
from fspo.places import base_in

if TYPE_CHECKING:
    from fspo.llm.sampling import Sampling


class Trained(NamedTuple):
    """A policy that is to be compared.

    Attributes:
        name: what reports call it.
        folder: where `fspo train` wrote it.
        settings: its `fspo.json`.
    """

    name: str
    folder: Path
    settings: dict[str, Any]


def trained(policies: Sequence[str | Path]) -> list[Trained]:
    """Reads what the policies are, without loading them.

    Args:
        policies: folders, or `NAME=FOLDER`. Without a name, a policy is called after what it
            learned, and after its folder where two would be called the same.

    Raises:
        FspoError: if one is not there, or is called like another one or like something else.
    """
    found = []
    for text in map(str, policies):
        name, place = _name_and_folder(text)
        folder = policy_folder(place)
        settings = read_settings(folder)
        base_in(settings, folder)  # which is missed before anything is asked
        label = method_of(settings).label(settings)
        found.append(Trained(name.strip() or label, folder, settings))
    names = [policy.name for policy in found]
    found = [
        p._replace(name=f"{p.name} ({p.folder.name})") if names.count(p.name) > 1 else p
        for p in found
    ]
    for policy in found:
        check_name(policy.name)
    twice = sorted({p.name for p in found if [q.name for q in found].count(p.name) > 1})
    if twice:
        raise FspoError(f"--policy: two are called {twice[0]!r}; write NAME=FOLDER")
    return found


def _name_and_folder(text: str) -> tuple[str, str]:
    """`NAME=FOLDER` in two, where both may hold a `=`; a folder as it is, without a name."""
    parts = text.split("=")
    splits = [("=".join(parts[:n]), "=".join(parts[n:])) for n in range(1, len(parts))]
    for name, folder in (("", text), *splits):
        if folder and Path(folder).is_dir():
            return name, folder
    return splits[0] if splits else ("", text)


_READ_OFF = re.compile(r", (mirrored|stacked|best of \d+)$")  # from what others say


def check_name(name: str) -> None:
    """Makes sure that a policy's name is not what reports call something else.

    Raises:
        FspoError: if it is.
    """
    if name in {*UNTRAINED, *BASELINES} or _READ_OFF.search(name):
        raise FspoError(f"a policy cannot be called {name!r}, as that is what something else is")


def methods(
    policies: Sequence[Trained],
    names: Sequence[str],
    sampling: Sampling,
    personal: PersonalRecipe | None = None,
) -> Iterator[Method]:
    """Yields the untrained methods of these names and the policies, in the order of reports.

    Args:
        policies: the first one's model and template are those of the untrained methods.
        names: among `UNTRAINED`; and "best of N", which picks among N answers of the first policy.
        sampling: of answers.
        personal: how "LoRA per user" is fine-tuned; by default as the recipe's defaults say.

    Raises:
        FspoError: if there is no such method, or one cannot be loaded.
    """
    given = Given(policies[0].settings, sampling, personal or PersonalRecipe())
    draws = [_draws(name) for name in names if name not in UNTRAINED]
    for name in names:
        if name in UNTRAINED and name != ORACLE:
            yield UNTRAINED[name](given)
    subject = load(*policies[0], sampling)
    yield subject
    yield from (BestOf(subject, n) for n in draws)
    del subject  # the next ones need the memory
    for policy in policies[1:]:
        yield load(*policy, sampling)
    if ORACLE in names:
        yield UNTRAINED[ORACLE](given)


def _draws(name: str) -> int:
    """The N of "best of N"."""
    found = re.fullmatch(r"best of ([1-9]\d*)", name)
    if not found:
        raise FspoError(f"there is no method {name!r}")
    return int(found[1])
