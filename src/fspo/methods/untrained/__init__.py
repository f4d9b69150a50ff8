"""Methods that nobody trains beforehand, by the names that `--method` and reports have for them.

They stand beside the policies that are compared, on the model and the template of the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fspo.methods.fspo.method import Prompted
from fspo.methods.untrained.chatting import Base, Oracle
from fspo.recipe import Lora, Place, RandomSeed
from fspo.sections import PreferenceObjectiveName, Section

if TYPE_CHECKING:
    from fspo.llm.local import LocalModel
    from fspo.llm.sampling import Sampling
    from fspo.methods.method import Method


class PersonalRecipe(Section):
    """Settings of the method "LoRA per user": an adapter is fine-tuned on one user's shots."""

    start: Place | None = Field(
        None, description="policy to start from, such as IPO without users; default: a new adapter"
    )
    objective: PreferenceObjectiveName = "dpo"
    beta: float = Field(0.1, gt=0, description="of a new adapter; a policy has its own")
    steps: int = Field(8, ge=1, description="gradient steps, each on all of the shots")
    learning_rate: float = Field(1e-3, gt=0)
    lora: Lora = Field(Lora(), description="the new adapter")
    seed: RandomSeed = Field(0, description="of the new adapter")


class Given:
    """The settings that untrained methods are made of."""

    def __init__(
        self, settings: dict[str, Any], sampling: Sampling, personal: PersonalRecipe
    ) -> None:
        """Takes the settings of the first policy, and those of its answers and of personal LoRA."""
        self.model, self.template = settings["model"], settings["template"]
        self.sampling, self.personal = sampling, personal

    @cached_property
    def llm(self) -> LocalModel:
        """The model as it comes, loaded when it is first asked for."""
        from fspo.llm.local import LocalModel
        from fspo.models import load_model

        return LocalModel(*load_model(self.model))


def _personal(given: Given) -> Method:
    from fspo.methods.untrained.personal import load_personal

    return load_personal(given.model, given.personal, given.sampling)


ORACLE = "oracle"  # the last in every report
UNTRAINED: dict[str, Callable[[Given], Method]] = {
    "base": lambda given: Base(given.llm, given.sampling),
    "few-shot prompted": lambda given: Prompted(given.llm, given.template, given.sampling),
    "LoRA per user": _personal,
    ORACLE: lambda given: Oracle(given.llm, given.sampling),
}


def always(described: bool) -> list[str]:
    """Returns the names of those that every evaluation has.

    Args:
        described: whether all users have a description, which is what an oracle is told.
    """
    return ["base", "few-shot prompted", *([ORACLE] if described else [])]
