"""RiC, Rewards-in-Context: a model that is told how much of what is to be in its answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fspo.methods.declaration import Declaration

if TYPE_CHECKING:
    from fspo.methods.method import Method
    from fspo.recipe import EvaluateRecipe, TrainRecipe

SCALES = "scales.json"  # beside the policy


def _train(recipe: TrainRecipe, resume: bool) -> Path:
    from fspo.methods.ric.train import train

    return train(recipe, resume)


def _load(name: str, folder: Path, recipe: EvaluateRecipe) -> Method:
    from fspo.learning.policy import load_policy
    from fspo.methods.ric.method import RewardsInContext
    from fspo.methods.ric.scales import Scales

    return RewardsInContext(name, load_policy(folder), Scales.load(folder / SCALES), recipe)


METHOD = Declaration(
    title="Rewards-in-Context (RiC)", label=lambda settings: "RiC", train=_train, load=_load
)
