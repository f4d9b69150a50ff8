"""The recipe of a table of the paper: its datasets, what is trained on each, and its columns."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from fspo.evaluation.recipe import EvaluateRecipe
from fspo.recipe import EngineRecipe, Section, SynthesizeRecipe, TrainRecipe


class PaperColumn(Section):
    """A column of a table: who is evaluated, and what the paper reports of them."""

    evaluate: EvaluateRecipe = EvaluateRecipe()
    published: dict[str, float] = Field(default_factory=dict, description="method -> win rate")

    @model_validator(mode="after")
    def _can_be_pooled(self) -> PaperColumn:
        if self.evaluate.judge in (None, "none"):
            raise ValueError("evaluate.judge: a column shows win rates; name a judge")
        if "shots" not in self.evaluate.model_fields_set:
            raise ValueError("evaluate.shots: say how many, so that all seeds give as many")
        return self


class PaperPart(Section):
    """A dataset, the methods that are trained on it, and the table's columns that it gives."""

    reviews: SynthesizeRecipe | None = Field(None, description="the demo's reviews")
    engine: EngineRecipe | None = Field(None, description="a described domain")
    methods: dict[str, TrainRecipe] = Field(
        default_factory=dict,
        description="name -> how it is trained; `data` may name an earlier part, and `adapter` an "
        "earlier method",
    )
    columns: dict[str, PaperColumn] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_made(self) -> PaperPart:
        if (self.reviews is None) == (self.engine is None):
            raise ValueError("a part has either `reviews` or `engine`, which make its data")
        for names in (self.methods, self.columns):
            _refuse_twice(names)
        earlier: list[str] = []
        for method, recipe in self.methods.items():
            if recipe.adapter and recipe.adapter not in earlier:
                raise ValueError(
                    f"methods.{method}.adapter: {recipe.adapter!r} is no method before this one "
                    f"({', '.join(earlier) or 'there is none'})"
                )
            earlier.append(method)
        return self


def _refuse_twice(names: Iterable[str]) -> None:
    """Two names that differ in blanks and dashes alone would share a folder."""
    found: dict[str, str] = {}
    for name in names:
        folder = name.replace(" ", "-")
        if folder in found:
            raise ValueError(f"{found[folder]!r} and {name!r}: call one of them something else")
        found[folder] = name


class PaperRecipe(Section):
    """A table of the paper: `fspo paper`."""

    title: str
    differs: str = Field("", description="what is not as in the paper")
    parts: dict[str, PaperPart] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_run(self) -> PaperRecipe:
        made: list[str] = []
        for name, part in self.parts.items():
            made.append(name)
            for method, recipe in part.methods.items():
                if recipe.data and recipe.data not in made:
                    raise ValueError(
                        f"parts.{name}.methods.{method}.data: {recipe.data!r} is no part up to "
                        f"this one ({', '.join(made)})"
                    )
            if part.columns and not part.methods:
                raise ValueError(f"parts.{name}: has columns, but no methods to evaluate")
        _refuse_twice(column for part in self.parts.values() for column in part.columns)
        if not any(part.columns for part in self.parts.values()):
            raise ValueError("no part has columns, so there is nothing to show")
        return self
