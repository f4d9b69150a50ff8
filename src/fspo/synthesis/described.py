"""Runs the engine for a recipe: builds its models, keeps their answers, makes the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from fspo.console import SECONDS_BETWEEN_LINES, say
from fspo.domains.described import Described, described_names, load_described
from fspo.errors import FspoError
from fspo.files import with_a_name
from fspo.judging.measured import measured_labeller
from fspo.judging.model_judge import model_labeller
from fspo.judging.verdicts import Judge
from fspo.llm.build import Builder
from fspo.llm.embedding import MiniLM
from fspo.llm.meter import Budget, Price
from fspo.llm.store import Store
from fspo.recipe import RECIPES, EngineRecipe, read_recipe
from fspo.synthesis.engine import make
from fspo.synthesis.stage import Cast


def engine_recipe(
    path: Path | None,
    settings: Mapping[str, Any],
    model: str | None,
    labeller: str | None,
    assignments: Sequence[str] = (),
) -> EngineRecipe:
    """The recipe in `path`, or the defaults, with `settings` over it.

    Args:
        path: a recipe (YAML), or None: one of our domains then has its own, if no model is given.
        settings: what wins over it; None means not given.
        model: who writes, thinks and labels, where there is no recipe.
        labeller: "measured", or the model that labels in the place of whoever would.
        assignments: further settings, as `key=value`.

    Raises:
        FspoError: naming the file and key at fault, or if a model is given beside a recipe.
    """
    if model is not None and path is not None:
        raise FspoError("--model: the recipe says who writes and labels; change it there")
    everyone = {"model": model} if model else None
    roles: dict[str, Any] = {}
    name = settings.get("domain")
    if path is None and model is None and name in described_names():
        own = RECIPES / f"{name}.yaml"
        path = own if own.is_file() else None
    if everyone:
        roles = {"writers": [everyone], "thinker": everyone, "labeller": everyone}
    if labeller is not None:
        roles["labeller"] = labeller if labeller == "measured" else {"model": labeller}
    return read_recipe(EngineRecipe, path, {**roles, **settings}, assignments)


def run_described(
    recipe: EngineRecipe, out: Path, seed: int, workers: int | None = None
) -> dict[str, Any]:
    """Writes the dataset of a recipe to the folder `out`.

    Every answer of a model is kept in `<out>.replies.sqlite`, by the content of what was asked: an
    interrupted run goes on where it was, and a second one costs nothing.

    Args:
        recipe: what is made.
        out: the folder to write; a dataset that it holds is replaced.
        seed: what every random choice depends on.
        workers: of a Ray cluster, where the models are to answer on one; the output is the same.

    Returns:
        The figures of `checks.json`, with what the models cost.

    Raises:
        FspoError: if the domain or a model cannot be used, or the budget is used up.
    """
    domain = load_described(recipe.domain, recipe.diversity)
    out = with_a_name(out)
    store = Store(out.with_name(f"{out.name}.replies.sqlite"))
    if len(store):
        say(f"{store.path}: {len(store)} answers are there already")
    try:
        builder = Builder(store, recipe.budget, workers)
        cast = cast_of(recipe, domain, builder)
        if any(price != Price() for _, price in builder.meters):
            _tell_of_spending(recipe, builder.budget, seed)
        figures = make(recipe, domain, cast, MiniLM(), out, seed)
    finally:
        store.close()
    for line in builder.budget.refusals_told():
        say(line)
    cost = [
        {
            "model": name,
            "requests": meter.requests,
            "retries": meter.retries,
            "input_tokens": meter.input_tokens,
            "output_tokens": meter.output_tokens,
        }
        for (name, _), meter in builder.meters.items()
    ]
    return figures | {"cost": {"spent": round(builder.budget.spent, 6), "models": cost}}


def _tell_of_spending(recipe: EngineRecipe, budget: Budget, seed: int) -> None:
    """Says what the run may cost, now and every while, as far as it can be foreseen."""
    from fspo.synthesis.preview import expected

    ahead = expected(recipe, seed)
    say(f"This may cost {budget.projected(ahead):.2f}, less what is known already.")
    last = monotonic()

    def tell(budget: Budget) -> None:
        nonlocal last
        if monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = monotonic()
            say(f"Spent {budget.spent:.2f} of about {budget.projected(ahead):.2f}")

    budget.watch = tell


def cast_of(recipe: EngineRecipe, domain: Described, builder: Builder) -> Cast:
    """Returns who does the work, by a recipe.

    Raises:
        FspoError: if the labeller measures, and the domain has nothing to measure.
    """
    labeller: Judge
    if recipe.labeller == "measured":
        if not domain.measures:
            raise FspoError(
                f"{domain.name}: it has no measures, so a model has to label: set `labeller` in "
                "the recipe, or `measures` in domain.yaml."
            )
        if recipe.refinements:
            raise FspoError(
                "refinements: a measured labeller does not read descriptions, so there is nothing "
                "to refine: set it to 0."
            )
        labeller = measured_labeller(domain, recipe.margin, recipe.liked)
    else:
        labeller = model_labeller(builder.model(recipe.labeller), domain.guidelines)
    writer, thinker = builder.ensemble(recipe.writers), builder.model(recipe.thinker)
    return Cast(writer, thinker, labeller, builder.budget.refusals)
