"""Trains whichever method a recipe names: `fspo train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fspo.methods.table import METHODS

if TYPE_CHECKING:
    from fspo.recipe import TrainRecipe


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Runs a recipe to its end, and returns the folder that `fspo evaluate` takes.

    Raises:
        FspoError: as `fspo.learning.train.train`.
    """
    return METHODS[recipe.method].train(recipe, resume)
