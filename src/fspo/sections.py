"""Sections of recipes, and the names that stand for something in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from fspo.learning.objectives import OBJECTIVES
from fspo.learning.templates import TEMPLATES

if TYPE_CHECKING:
    ObjectiveName = str
    PreferenceObjectiveName = str
    TemplateName = str
else:  # so that whoever adds to a table has nothing to add here
    ObjectiveName = Literal[tuple(OBJECTIVES)]
    PreferenceObjectiveName = Literal[
        tuple(name for name, objective in OBJECTIVES.items() if objective.needs_reference)
    ]
    TemplateName = Literal[tuple(TEMPLATES)]


class Section(BaseModel):
    """A group of settings; a key that it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)
