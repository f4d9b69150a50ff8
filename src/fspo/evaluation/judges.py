"""Judges: which of two answers a user would like better, by measures, a model or a reward model.

A judge is a few lines of YAML (`recipes/judges/`), or the name of a domain whose measures judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import Field, model_validator

from fspo.domains.domain import Domain, code_of, load_domain
from fspo.errors import FspoError
from fspo.evaluation.winrate import Utility, outcome
from fspo.llm.build import Builder
from fspo.preferences.records import User
from fspo.recipe import RECIPES, ModelRecipe, Place, Section, read_recipe, recipe_file
from fspo.synthesis.judging import MeasuredLabeller

JUDGES = RECIPES / "judges"

Measure = Callable[[str], Mapping[str, float]]


class Item(NamedTuple):
    """Two answers to a prompt, and who would read them."""

    user: User
    prompt: str
    answer: str
    other: str


class Judgement(NamedTuple):
    """What a judge says of an item.

    Attributes:
        outcome: 1 if the user would like `answer` better, 0 if `other`; in between, how probable
            that is, and 0.5 for a tie and where nothing could be made out.
        malformed: whether nothing could be made out.
        lean: by how much more probable an answer is for being shown first; 0 without orders.
    """

    outcome: float
    malformed: bool = False
    lean: float = 0.0


class Judge(Protocol):
    """Something that compares answers on behalf of users."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def check(self, users: Sequence[User]) -> None:
        """Makes sure, before anything is written for it to judge, that it can for these users.

        Raises:
            FspoError: naming what they lack.
        """

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """A judgement of each item, in their order."""


class JudgeRecipe(Section):
    """Which judge it is, and what it needs."""

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
    """The judge of that name: a YAML file, one of ours in `recipes/judges/`, or a domain.

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
    """The judge of a recipe; a model's replies are kept and paid for by `builder`.

    Raises:
        FspoError: if the domain or the model cannot be used.
    """
    if recipe.kind == "measured":
        domain = load_domain(recipe.domain)
        return MeasuredJudge(Path(recipe.domain).name, _utility(domain), _measure(domain))
    if recipe.kind == "reward":
        from fspo.evaluation.reward_judge import load_reward_judge

        return load_reward_judge(recipe.reward, recipe.batch_size)
    from fspo.evaluation.model_judge import INSTRUCTION, ModelJudge

    warmth = recipe.model.temperature
    return ModelJudge(
        builder.model(recipe.model),
        recipe.instruction or INSTRUCTION,
        temperature=1.0 if warmth is None else warmth,
        seed=seed,
    )


class MeasuredJudge:
    """Prefers the answer that is worth more to the user, by a domain's measures."""

    def __init__(self, domain: str, utility: Utility, measure: Measure) -> None:
        self.name = f"measured: {domain}"
        self._utility, self._measure = utility, measure

    def facts(self, user: User, text: str) -> dict[str, float]:
        """What it measures in an answer, and what that is worth to the user (`utility`).

        Nothing where it is not known what the user wants.
        """
        if self._fault(user):
            return {}
        return {**self._measure(text), "utility": self._utility(user.attributes, text)}

    def check(self, users: Sequence[User]) -> None:
        """Makes sure that of some user it is known what they want.

        Raises:
            FspoError: if it is not, or a measure's package is not installed.
        """
        self._faults(users)

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """Measures; a difference under `winrate.TIE` is a tie.

        A user whose attributes do not say what they want is malformed.

        Raises:
            FspoError: as `check` of the items' users.
        """
        faults = self._faults([item.user for item in items])
        return [
            Judgement(0.5, malformed=True)
            if fault
            else Judgement(outcome(self._utility, item.user, item.answer, item.other))
            for item, fault in zip(items, faults, strict=True)
        ]

    def _faults(self, users: Sequence[User]) -> list[str]:
        faults = [self._fault(user) for user in users]
        if faults and all(faults):
            raise FspoError(
                f"{self.name}: of no user is it known what they want ({faults[0]}). Choose the "
                "domain that the data was made from, or another judge."
            )
        return faults

    def _fault(self, user: User) -> str:
        """Why nothing can be measured for a user; empty if something can."""
        place = f"user {user.user_id!r}: attributes"
        try:
            worth = self._utility(user.attributes, "")
        except (KeyError, TypeError) as error:
            return f"{place}: {error}"
        except ImportError as error:
            raise FspoError(
                f"{self.name}: {error}. Install the measures with `pip install 'fspo[synthesis]'`."
            ) from error
        return "" if math.isfinite(worth) else f"{place}: they make an answer worth {worth}"


def domain_utility(name: str) -> Utility:
    """Returns what an answer is worth to a user, by the measures of a domain.

    Users have an attribute `wants`, and an answer is worth the more the nearer it comes to that,
    as in `MeasuredLabeller.utility`.

    Raises:
        FspoError: if there is no such domain, or it has no measures.
    """
    return _utility(load_domain(name))


def _utility(domain: Domain) -> Utility:
    if not domain.measures:
        raise FspoError(
            f"{domain.name}: it has no measures, so it cannot judge: let a model judge, or set "
            "`measures` in its domain.yaml."
        )
    labeller = MeasuredLabeller(domain, margin=0.0)

    def utility(attributes: Mapping[str, Any], text: str) -> float:
        if "praise" in domain.measures and "wants" not in attributes:
            attributes = _from_earlier(attributes)
        wants = attributes["wants"]
        if not isinstance(wants, Mapping) or not wants:
            raise TypeError("'wants' has to be a number for each measure")
        return labeller.utility(wants, text, attributes.get("importance", {}))

    return utility


def is_earlier_review(attributes: Mapping[str, Any]) -> bool:
    """Returns whether these are attributes of Reviews as versions up to 0.2 wrote them."""
    return {"sentiment", "verbosity"} <= attributes.keys()


def _from_earlier(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a user of Reviews wants, from attributes that versions up to 0.2 wrote.

    These were the worth of a unit of praise and of length. Measures end at -1 and 1: so much worth
    is the importance of being near to the one end or the other.
    """
    if not is_earlier_review(attributes):
        return attributes
    worth = {"praise": attributes["sentiment"], "verbosity": attributes["verbosity"]}
    return {
        "wants": {name: 1.0 if value > 0 else -1.0 for name, value in worth.items()},
        "importance": {name: abs(value) for name, value in worth.items()},
    }


def _measure(domain: Domain) -> Measure:
    names = {"words", "sentiment", *domain.measures}
    functions = {name: domain.functions[name] for name in domain.functions if name in names}
    return lambda text: {name: function(text) for name, function in functions.items()}
