"""Settings of `fspo evaluate`: what is measured on held-out users."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fspo.llm.sampling import Sampling
from fspo.methods.untrained import PersonalRecipe
from fspo.recipe import Place
from fspo.sections import Section


class EvaluateRecipe(Section):
    """Settings of `fspo evaluate`: what is measured on held-out users."""

    judge: Place | None = Field(
        None, description="the domain whose measures judge, or none; default: one that knows these"
    )
    split: str = Field("test", description="whose users, where users are split")
    holdout_users: float | None = Field(
        None, ge=0, lt=1, description="share of users held out; default: as in training"
    )
    holdout_prompts: float | None = Field(
        None, ge=0, lt=1, description="share of prompts held out; default: as in training"
    )
    drop_ties: bool | None = Field(
        None, description="leave out rows with two equal responses; default: as in training"
    )
    where: dict[str, list[str]] = Field(
        default_factory=dict, description="only users with one of these values of an attribute"
    )
    methods: list[str] = Field(
        default_factory=list, description='further methods: "LoRA per user", "best of N"'
    )
    personal: PersonalRecipe = PersonalRecipe()
    baselines: list[str] | None = Field(
        None, description="simple predictors beside; default: two of them where nothing is judged"
    )
    shots: int = Field(8, ge=1, description="default: 8, or as many as enough users have")
    episodes_per_user: int = Field(2, ge=1, description="draws of shots, for preference accuracy")
    targets: int = Field(2, ge=1, description="pairs that every number of shots is tried on")
    predict: Literal["all", "policies", "none"] = Field(
        "all", description="which methods are asked what users prefer"
    )
    mirrored: bool = Field(
        False, description="what policies tell is also read off with every shot turned round"
    )
    stacked: bool = Field(
        False, description="the baselines are also taken together, and with each policy"
    )
    prompts_per_user: int = Field(6, ge=1, description="for win rate")
    users: int = Field(60, ge=2, description="at most so many users")
    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)

    @property
    def sampling(self) -> Sampling:
        """Returns how answers are drawn; whoever draws them adds a seed."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_p)
