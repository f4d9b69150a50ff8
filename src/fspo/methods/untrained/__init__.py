"""Methods that nobody trains beforehand, by the names that `--method` and reports have for them.

They stand beside the policies that are compared, on the model and the template of the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fspo.methods.fspo.method import Prompted
from fspo.methods.untrained.chatting import Base, Oracle

if TYPE_CHECKING:
    from fspo.llm.local import LocalModel
    from fspo.methods.method import Method
    from fspo.recipe import EvaluateRecipe


class Given:
    """What they are made of."""

    def __init__(self, settings: dict[str, Any], recipe: EvaluateRecipe) -> None:
        """Takes the settings of the first policy, and how answers are sampled."""
        self.model, self.template, self.recipe = settings["model"], settings["template"], recipe

    @cached_property
    def llm(self) -> LocalModel:
        """The model as it comes, loaded when it is first asked for."""
        from fspo.llm.local import LocalModel
        from fspo.models import load_model

        return LocalModel(*load_model(self.model))


def _personal(given: Given) -> Method:
    from fspo.methods.untrained.personal import load_personal

    return load_personal(given.model, given.recipe.personal, given.recipe)


ORACLE = "oracle"  # the last in every report
UNTRAINED: dict[str, Callable[[Given], Method]] = {
    "base": lambda given: Base(given.llm, given.recipe),
    "few-shot prompted": lambda given: Prompted(given.llm, given.template, given.recipe),
    "LoRA per user": _personal,
    ORACLE: lambda given: Oracle(given.llm, given.recipe),
}


def always(described: bool) -> list[str]:
    """Returns the names of those that every evaluation has.

    Args:
        described: whether all users have a description, which is what an oracle is told.
    """
    return ["base", "few-shot prompted", *([ORACLE] if described else [])]
