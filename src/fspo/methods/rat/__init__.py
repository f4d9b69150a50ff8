"""RAT, user-description rationalization: describes the user from the shots, then answers."""

from __future__ import annotations

from pydantic import Field

from fspo.methods.declaration import Declaration
from fspo.sections import ObjectiveName, Section


class RatSettings(Section):
    """User-description rationalization: how descriptions are learned."""

    warm_up: int = Field(64, ge=1, description="episodes of learning from true descriptions first")
    warm_up_objective: ObjectiveName = Field(
        "sft", description="ipo, dpo: the true description is preferred to another user's"
    )
    warm_up_learning_rate: float = Field(1e-3, gt=0)
    warm_up_batch_size: int = Field(2, ge=1, description="episodes in a step of the first stage")
    descriptions: int = Field(
        4, ge=1, description="numbers of shots in an episode that a pair of them stands after"
    )
    samples: int = Field(4, ge=2, description="descriptions sampled of each user, to pair")
    max_tokens: int = Field(64, ge=8, description="the longest description")
    temperature: float = Field(0.7, gt=0, description="of the samples")
    nll: float = Field(
        1.0, ge=0, description="ipo, dpo: weight of the nearer description's log-loss beside it"
    )
    targets: int = Field(2, ge=1, description="pairs of an episode answered behind a description")


METHOD = Declaration(
    title="FSPO with user-description rationalization (RAT)",
    label=lambda settings: "FSPO + RAT",
    settings=RatSettings,
    chats=True,
    describes=True,
)
