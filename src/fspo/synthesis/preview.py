"""Previews a recipe's requests before anything is spent: how many, and the first ones.

The whole engine runs, with models that answer at once and write words without sense. A large
population is counted on a part of it.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from fspo.domains.described import load_described
from fspo.judging.model_judge import model_labeller
from fspo.judging.verdicts import Comparison, Judge, Verdict
from fspo.llm.meter import Expected, Price
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import Request
from fspo.preferences.records import User
from fspo.recipe import EngineRecipe, ModelRecipe
from fspo.synthesis.engine import make
from fspo.synthesis.stage import Cast

COUNTED = 24  # users, at most, that the engine runs with
_BY_USERS = (
    "labels",
    "refinements",
    "guidelines",
    "users",
)  # what there is more of with more users
_WRITTEN = {"answers": 0.6, "views": 0.6, "labels": 1.0}  # tokens written, of the most; else 0.5


class _Decided:
    """Labels without asking anybody, as measures do: what is written here measures nothing.

    Users differ, or else none would be opposed to another.
    """

    name = "decided"

    def check(self, users: Sequence[User]) -> None:
        pass

    def judge(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        told = (f"{c.user.description}\n{c.first}\n{c.second}" for c in comparisons)
        return [Verdict("clear", 0.9 if crc32(text.encode()) % 2 else 0.1) for text in told]


@dataclass
class Asked:
    """Requests for one purpose: how many, their tokens, what they may cost, the first of them."""

    count: float = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    first: list[Request] = field(default_factory=list)


def preview(recipe: EngineRecipe, shown: int, seed: int) -> dict[str, Any]:
    """Returns what a run of `recipe` would ask.

    Args:
        recipe: what would be made.
        shown: how many requests of each purpose to show.
        seed: as for the run.

    Returns:
        `purposes`: for each the count, tokens, cost and first requests; `total`: their sums. They
        are upper estimates: a token is three characters, and half of the pairs are dropped.

    Raises:
        FspoError: if the domain cannot be used.
    """
    domain = load_described(recipe.domain, recipe.diversity)
    asked: dict[str, Asked] = defaultdict(Asked)
    scale = max(1.0, recipe.users / COUNTED)

    def see(request: Request) -> None:
        times = scale if request.purpose in _BY_USERS else 1.0
        _count(asked[request.purpose], request, _price(recipe, request.purpose), times, shown)

    model = Pretend(see)
    labeller: Judge = (
        _Decided() if recipe.labeller == "measured" else model_labeller(model, domain.guidelines)
    )
    small = recipe.model_copy(update={"users": min(recipe.users, COUNTED), "remakes": 0})
    with tempfile.TemporaryDirectory() as folder:
        cast = Cast(model, model, labeller)
        make(small, domain, cast, pretend_embedder, Path(folder) / "preview", seed)
    purposes = {name: _figures(own) for name, own in asked.items()}
    names = ("requests", "input_tokens", "output_tokens", "cost")
    total = {name: round(sum(own[name] for own in purposes.values()), 4) for name in names}
    return {"purposes": purposes, "total": total, "budget": recipe.budget}


def expected(recipe: EngineRecipe, seed: int) -> dict[str, Expected]:
    """Returns what a run of `recipe` may ask for each purpose, and what each request may cost.

    Raises:
        FspoError: if the domain cannot be used.
    """
    found = preview(recipe, 0, seed)["purposes"]
    return {
        name: Expected(own["requests"], own["cost"] / max(1, own["requests"]))
        for name, own in found.items()
    }


def render(found: Mapping[str, Any]) -> str:
    """The preview as text."""
    lines = []
    for name, own in found["purposes"].items():
        for number, messages in enumerate(own["first"], 1):
            lines.append(f"--- {name}, request {number}")
            lines += [f"[{role}] {text}" for role, text in messages]
    lines.append(f"{'':12}{'requests':>12}{'tokens in':>14}{'tokens out':>14}{'cost':>12}")
    for name, own in [*found["purposes"].items(), ("total", found["total"])]:
        figures = f"{own['requests']:>12,}{own['input_tokens']:>14,}{own['output_tokens']:>14,}"
        lines.append(f"{name:12}{figures}{own['cost']:>12.4f}")
    lines.append("These are upper estimates: half of the pairs are reckoned to be dropped.")
    if found["budget"] is not None:
        is_enough = found["total"]["cost"] <= found["budget"]
        end = "" if is_enough else ": the run may stop there, and go on when it is raised"
        lines.append(f"The budget is {found['budget']:g}{end}.")
    return "\n".join(lines)


def _count(own: Asked, request: Request, price: Price, times: float, shown: int) -> None:
    read = sum(len(text) for _, text in request.messages) // 3
    written = round(request.max_tokens * _WRITTEN.get(request.purpose, 0.5))
    own.count += times
    own.input_tokens += round(read * times)
    own.output_tokens += round(written * times)
    own.cost += price.of(read, written) * times
    if len(own.first) < shown:
        own.first.append(request)


def _figures(own: Asked) -> dict[str, Any]:
    return {
        "requests": round(own.count),
        "input_tokens": own.input_tokens,
        "output_tokens": own.output_tokens,
        "cost": round(own.cost, 4),
        "first": [[list(message) for message in request.messages] for request in own.first],
    }


def _price(recipe: EngineRecipe, purpose: str) -> Price:
    models: Sequence[ModelRecipe] = [recipe.thinker]
    if purpose in ("answers", "views"):
        models = recipe.writers
    elif purpose == "labels" and recipe.labeller != "measured":
        models = [recipe.labeller]
    whole = sum(model.weight for model in models)
    return Price(
        sum(model.price_in * model.weight for model in models) / whole,
        sum(model.price_out * model.weight for model in models) / whole,
    )
