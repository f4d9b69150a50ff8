"""VPL, variational preference learning: a user as a latent vector, and a reward that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from fspo.methods.declaration import Declaration
from fspo.sections import Section

if TYPE_CHECKING:
    from fspo.recipe import TrainRecipe


class VplSettings(Section):
    """Variational preference learning: a user as a latent vector, and a reward that reads it."""

    latent: int = Field(32, ge=1, description="numbers that a user is summed up in")
    hidden: int = Field(256, ge=1, description="width of encoder and reward")
    kl: float = Field(0.01, ge=0, description="weight of the divergence from the prior")
    annealing: float = Field(
        0.5, ge=0, le=1, description="share of the steps in which that weight rises from 0"
    )
    frozen: bool = Field(
        True, description="read answers with the model as it is; false: its adapter learns, too"
    )
    samples: int = Field(8, ge=1, description="answers to choose the best from")


def _learned(recipe: TrainRecipe) -> str:
    settings = recipe.section(VplSettings)
    if not settings.frozen:
        return ""
    return f"encoder and reward, of width {settings.hidden}, on the frozen model"


METHOD = Declaration(
    title="variational preference learning (VPL)",
    label=lambda settings: "VPL",
    settings=VplSettings,
    is_policy=False,
    learned=_learned,
)
