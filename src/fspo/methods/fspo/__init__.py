"""FSPO and all that a preference objective trains the same way: Pref-FT, IPO without users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.methods.declaration import Declaration

if TYPE_CHECKING:
    from fspo.methods.method import Method
    from fspo.recipe import EvaluateRecipe, TrainRecipe


def _label(settings: Mapping[str, Any]) -> str:
    objective = settings.get("objective", "ipo")
    if objective == "sft":
        return "Pref-FT"
    return "FSPO" if settings.get("shots", 8) else f"{objective.upper()} without users"


def _train(recipe: TrainRecipe, resume: bool) -> Path:
    from fspo.learning.train import train

    return train(recipe, resume)


def _load(name: str, folder: Path, recipe: EvaluateRecipe) -> Method:
    from fspo.learning.policy import load_policy
    from fspo.methods.fspo.in_context import InContext

    return InContext(name, load_policy(folder), recipe)


METHOD = Declaration(
    title="few-shot preference optimization (FSPO)",
    label=_label,
    train=_train,
    load=_load,
    chats=True,
)
