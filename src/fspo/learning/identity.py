"""Fingerprints of a run's data and models, beside its recipe: `fingerprints.json` in its folder.

A run goes on with the same data and models wherever they lie by then, and with no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.fingerprints import of_folder, of_model, of_rows, of_template

if TYPE_CHECKING:
    from fspo.preferences.records import Preferences
    from fspo.recipe import TrainRecipe

FINGERPRINTS = "fingerprints.json"
PLACES = ("data", "model", "adapter")  # settings that say where something lies

_WHAT = {
    "data": "other data",
    "model": "another model",
    "adapter": "another adapter",
    "template": "another template",
}


def fingerprints_of(recipe: TrainRecipe, preferences: Preferences) -> dict[str, str]:
    """Returns what a run depends on besides its settings.

    Args:
        recipe: of the run.
        preferences: what it trains on.

    Raises:
        FspoError: if there is no such model.
    """
    found = {
        "data": of_rows(preferences),
        "model": of_model(recipe.model),
        "template": of_template(recipe.template),
    }
    return found | ({"adapter": of_folder(Path(recipe.adapter))} if recipe.adapter else {})


def read_fingerprints(out: Path) -> dict[str, str]:
    """Returns what a run has noted; nothing where an earlier version began it.

    Raises:
        FspoError: if the file is damaged.
    """
    path = out / FINGERPRINTS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FspoError(f"{path}: cannot be read ({error}); take another --out") from error
    return {str(key): str(value) for key, value in dict(found).items()}


def is_same_place(one: Any, other: Any) -> bool:
    """Returns whether two settings name one place: what is known where no content was noted."""
    return one == other or bool(one and other and Path(one).resolve() == Path(other).resolve())


def check_same(
    out: Path,
    known: Mapping[str, str],
    now: Mapping[str, str],
    there: Mapping[str, Any],
    here: Mapping[str, Any],
) -> None:
    """Makes sure that a run would go on with what it was begun with.

    Args:
        out: the run's folder.
        known: its fingerprints, as noted; empty if none were.
        now: the same, as things are.
        there: its settings, as noted.
        here: the settings that it is to go on with.

    Raises:
        FspoError: naming what changed.
    """
    for key in sorted({*known, *now}) if known else ():
        if known.get(key) == now.get(key):
            continue
        was, place = there.get(key), here.get(key)
        moved = "" if is_same_place(was, place) else f" (then it was {was!r})"
        raise FspoError(
            f"{out}: this folder holds a run on {_WHAT[key]}: {key} {place!r} is not what it was "
            f"when the run began{moved}. Take another --out, or bring back what was there."
        )
