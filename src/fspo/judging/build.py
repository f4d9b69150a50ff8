"""Builds a judge from a few lines of YAML, or from the name of a domain whose measures judge."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from fspo.domains.described import code_of
from fspo.errors import FspoError
from fspo.judging.measured import measured_judge
from fspo.judging.model_judge import INSTRUCTION, ModelJudge
from fspo.judging.verdicts import Judge
from fspo.llm.build import Builder
from fspo.recipe import RECIPES, ModelRecipe, Place, Section, read_recipe, recipe_file

JUDGES = RECIPES / "judges"


class JudgeRecipe(Section):
    """Settings of a judge."""

    kind: Literal["measured", "model", "reward"] = "measured"
    domain: Place = Field("reviews", description="measured: a domain's name, or its folder")
    model: ModelRecipe = Field(ModelRecipe(), description="model: who is asked")
    instruction: str | None = Field(
        None, min_length=1, description="model: how to judge; default: as this person would"
    )
    budget: float | None = Field(None, ge=0, description="model: the most money it may spend")
    reward: Place = Field("", description="reward: a model's folder or hub id")
    batch_size: int = Field(8, ge=1, description="reward: answers scored at once")

    @model_validator(mode="after")
    def _has_its_own_settings(self) -> JudgeRecipe:
        for key in sorted(self.model_fields_set - {"kind"}):
            owner = str(type(self).model_fields[key].description).split(":")[0]
            if owner != self.kind:
                raise ValueError(f"{key!r} is for kind: {owner}, and this is kind: {self.kind}")
        if self.kind == "reward" and not self.reward:
            raise ValueError("kind: reward needs `reward`, the model's folder or hub id")
        return self


def judge_recipe(name: str, trust_domain: bool = False) -> JudgeRecipe:
    """Returns the recipe of a judge: a YAML file, one of ours in `recipes/judges/`, or a domain.

    Args:
        name: a domain's folder that stands here itself may run its `domain.py`.
        trust_domain: whether one that a YAML file names may, too.

    Raises:
        FspoError: naming the file and the key at fault.
    """
    if not name.endswith((".yaml", ".yml")):
        return JudgeRecipe(kind="measured", domain=name)
    path = recipe_file(Path(name))
    if not path.is_file() and (JUDGES / name).is_file():
        path = JUDGES / name
    recipe = read_recipe(JudgeRecipe, path, {})
    code = None if trust_domain or recipe.kind != "measured" else code_of(recipe.domain)
    if code is not None:
        raise FspoError(
            f"{path}: domain: {code} is Python that would be run, and it is this file that names "
            f"it. Look at it; to run it, add --trust-domain, or give --judge {recipe.domain}."
        )
    return recipe


def load_judge(recipe: JudgeRecipe, builder: Builder, seed: int = 0) -> Judge:
    """Builds the judge of a recipe; a model's replies are kept and paid for by `builder`.

    Raises:
        FspoError: if the domain or the model cannot be used.
    """
    if recipe.kind == "measured":
        return measured_judge(recipe.domain)
    if recipe.kind == "reward":
        from fspo.judging.reward_judge import load_reward_judge

        return load_reward_judge(recipe.reward, recipe.batch_size)
    warmth = recipe.model.temperature
    return ModelJudge(
        builder.model(recipe.model),
        recipe.instruction or INSTRUCTION,
        temperature=1.0 if warmth is None else warmth,
        seed=seed,
    )
