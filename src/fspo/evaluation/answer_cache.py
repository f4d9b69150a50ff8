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
from fspo.fingerprints import of_folder, of_model, of_template
from fspo.learning.policy import SETTINGS, read_settings
from fspo.places import base_in

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.methods.build import Trained


class AnswerCache:
    """The answers of one method, in a folder of its own."""

    def __init__(self, folder: Path, name: str, depends: object) -> None:
        """`depends`: what all of it depends on, besides what is asked; told apart by `repr`."""
        # The name is a user's: whatever it is, it names one folder in this one.
        self._folder = folder / (re.sub(r"[^\w+-]+", "-", name).strip("-") or "method")
        self._depends = depends

    def get(self, asked: object, say: Callable[[], Any]) -> Any:
        """Returns what is said when this is asked: by `say`, or as it was kept, as JSON."""
        path = self._folder / f"{cache_key(self._depends, asked)}.json"
        if not path.is_file():
            write_json(path, say())
        return json.loads(path.read_text(encoding="utf-8"))


def cache_key(*parts: object) -> str:
    """A short name that other parts have not: 16 hexadecimal digits of a hash of their `repr`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def dependencies(
    compared: Sequence[Trained], recipe: EvaluateRecipe
) -> Callable[[str], tuple[object, ...]]:
    """Returns what each method's words depend on besides what it is asked, by the method's name.

    Methods that are not trained depend on the first policy's model and template; the best of some
    answers of the first policy on that policy.

    Raises:
        FspoError: if a policy's base model is not found.
    """
    folders = {policy.name: _of_policy(policy.folder) for policy in compared}
    first = compared[0].settings
    personal, start = recipe.personal.model_copy(update={"start": None}), recipe.personal.start
    # One that is not there is found out, and named, by what loads it.
    started = _of_policy(Path(start)) if start and (Path(start) / SETTINGS).is_file() else start
    models = (of_model(first["model"]), of_template(first["template"]))
    untrained = (*models, repr(personal), started)
    sampling = (recipe.max_new_tokens, recipe.temperature, recipe.top_p)

    def of(name: str) -> tuple[object, ...]:
        own = folders[compared[0].name] if re.search(r", best of \d+$", name) else untrained
        return (name, folders.get(name, own), sampling)

    return of


def _of_policy(folder: Path) -> tuple[str, ...]:
    """Returns what a policy's words depend on: its files, its base model, its template's text."""
    settings = read_settings(folder)
    base = base_in(settings, folder)
    return of_folder(folder), of_model(base), of_template(settings["template"])
