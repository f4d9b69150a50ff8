"""Trains whichever method a recipe names: `fspo train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fspo.recipe import TrainRecipe


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Runs a recipe to its end, and returns the folder that `fspo evaluate` takes.

    Raises:
        FspoError: as `fspo.learning.train.train`.
    """
    if recipe.method == "rat":
        from fspo.methods.rat_train import train as train_rat

        return train_rat(recipe, resume)
    if recipe.method == "vpl":
        from fspo.learning.vpl_train import train as train_vpl

        return train_vpl(recipe, resume)
    if recipe.method == "ric":
        from fspo.methods.ric import train as train_ric

        return train_ric(recipe, resume)
    from fspo.learning.train import train as train_policy

    return train_policy(recipe, resume)
