"""Keeps what a method said as soon as it has said it, and finds it again if it is asked the same.

Each piece is a file that is named after all that it depends on: the policy's weights and settings,
the sampling, the shots, what is asked. An interrupted evaluation goes on where it was; after any
change what depends on it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.files import write_json

if TYPE_CHECKING:
    from fspo.methods.build import Trained
    from fspo.recipe import EvaluateRecipe


class Kept:
    """What one method says, in a folder of its own."""

    def __init__(self, folder: Path, name: str, depends: object) -> None:
        """`depends`: what all of it depends on, besides what is asked; told apart by `repr`."""
        # The name is a user's: whatever it is, it names one folder in this one.
        self._folder = folder / (re.sub(r"[^\w+-]+", "-", name).strip("-") or "method")
        self._depends = depends

    def get(self, asked: object, say: Callable[[], Any]) -> Any:
        """What is said when this is asked: by `say`, or as it was kept, as JSON either way."""
        path = self._folder / f"{mark(self._depends, asked)}.json"
        if not path.is_file():
            write_json(path, say())
        return json.loads(path.read_text(encoding="utf-8"))


def mark(*parts: object) -> str:
    """A short name that other parts have not: 16 hexadecimal digits of a hash of their `repr`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def dependencies(
    compared: Sequence[Trained], recipe: EvaluateRecipe
) -> Callable[[str], tuple[object, ...]]:
    """What each method's words depend on besides what it is asked, by the method's name.

    Methods that are not trained depend on the first policy's model and template; the best of some
    answers of the first policy on that policy.
    """
    folders = {policy.name: _contents(policy.folder) for policy in compared}
    first = compared[0]
    start = recipe.personal.start and _contents(Path(recipe.personal.start))
    untrained = (first.settings["model"], first.settings["template"], repr(recipe.personal), start)
    sampling = (recipe.max_new_tokens, recipe.temperature, recipe.top_p)

    def of(name: str) -> tuple[object, ...]:
        own = folders[first.name] if re.search(r", best of \d+$", name) else untrained
        return (name, folders.get(name, own), sampling)

    return of


def _contents(folder: Path) -> str:
    """A hash of the files of a policy: its weights, its settings, and what else lies there."""
    found = hashlib.sha256()
    # One that is not there is found out, and named, by what loads it.
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        with path.open("rb") as file:
            found.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return found.hexdigest()
