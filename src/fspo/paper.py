"""The paper's tables: makes the data, trains every method, evaluates, and sets ours beside theirs.

    fspo paper reviews --out runs/paper-reviews --seeds 3

Each seed makes its own users and trains its own policies. Every step leaves its result in the
output folder and is passed over when it is there: an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fspo.console import say
from fspo.errors import FspoError
from fspo.files import write_json, write_text
from fspo.paper_table import Results, Table, pooled, render
from fspo.recipe import RECIPES, recipe_file

if TYPE_CHECKING:
    from fspo.paper_recipe import PaperPart, PaperRecipe

TABLES = RECIPES / "tables"


def recipe_path(name: str) -> Path:
    """The recipe of a table of ours, or a file.

    Raises:
        FspoError: if there is none of that name.
    """
    own = TABLES / f"{name}.yaml"
    if own.is_file():
        return own
    if (found := recipe_file(Path(name))).is_file():
        return found
    there = ", ".join(sorted(path.stem for path in TABLES.glob("*.yaml")))
    raise FspoError(f"there is no table {name!r}: take {there}, or give a recipe's path")


def run_paper(recipe: PaperRecipe, out: Path, seeds: Sequence[int]) -> Table:
    """Runs a recipe in `out`, once for each seed; an earlier run of the same may have begun it.

    Returns:
        What is in `table.json`; `table.md` holds the same to read.

    Raises:
        FspoError: if a step cannot run, a judge does not exist, or `out` holds another recipe.
    """
    _check_names(recipe)  # before anything is made or trained
    _check_judges(recipe)
    _claim(out, recipe)
    runs: dict[str, list[Results]] = {}
    for seed in seeds:
        places = {name: out / f"seed-{seed}" / name for name in recipe.parts}
        for name, part in recipe.parts.items():
            _prepare(name, part, places[name], seed)
        for name, part in recipe.parts.items():
            for column, results in _run_part(name, part, places[name], seed).items():
                runs.setdefault(column, []).append(results)
    published = {
        column: settings.published
        for part in recipe.parts.values()
        for column, settings in part.columns.items()
    }
    columns = {column: pooled(results, published[column]) for column, results in runs.items()}
    table: Table = {
        "title": recipe.title,
        "differs": recipe.differs,
        "seeds": list(seeds),
        "columns": columns,
    }
    write_json(out / "table.json", table)
    write_text(out / "table.md", render(table))
    return table


def _prepare(name: str, part: PaperPart, out: Path, seed: int) -> None:
    """Makes the part's data, and sees that every column has users to ask, before training."""
    from fspo.evaluation.cohort import cohort, who_is_asked
    from fspo.preferences.reading import load_preferences
    from fspo.synthesis.run import synthesize

    if not (out / "data").is_dir():
        say(f"{name}: making users and preferences")
        synthesize(part.synthesize, out / "data", seed)
    if not part.columns:
        return
    preferences = load_preferences(out / "data")
    trained = {name: recipe.model_dump() for name, recipe in part.methods.items()}
    for column, settings in part.columns.items():
        try:
            who_is_asked(cohort(preferences, trained, settings.evaluate), settings.evaluate)
        except FspoError as error:
            raise FspoError(f"parts.{name}.columns.{column}: {error}") from error


def _run_part(name: str, part: PaperPart, out: Path, seed: int) -> dict[str, Results]:
    """The results of each of the part's columns."""
    from fspo.evaluation.evaluate import evaluate
    from fspo.methods.train import train

    policies = []
    for method, recipe in part.methods.items():
        say(f"{name}: training {method}")
        folder = out / "policies" / method.replace(" ", "-")
        data = out.parent / (recipe.data or name) / "data"  # of this part, or of an earlier one
        placed = {"data": str(data), "out": str(folder), "seed": seed}
        if recipe.adapter:  # goes on from another of these methods
            placed["adapter"] = str(out / "policies" / recipe.adapter.replace(" ", "-"))
        train(recipe.model_copy(update=placed), resume=True)
        policies.append(f"{method}={folder}")
    found = {}
    for column, settings in part.columns.items():
        place = out / "results" / column.replace(" ", "-")
        if not (place / "results.json").is_file():
            say(f"{name}: evaluating {column}")
            evaluate(out / "data", policies, place, settings.evaluate, seed)
        found[column] = json.loads((place / "results.json").read_text(encoding="utf-8"))
    return found


def _check_names(recipe: PaperRecipe) -> None:
    from fspo.methods.build import check_name

    for name, part in recipe.parts.items():
        for method in part.methods:
            try:
                check_name(method)
            except FspoError as error:
                raise FspoError(f"parts.{name}.methods: {error}") from error


def _check_judges(recipe: PaperRecipe) -> None:
    from fspo.evaluation.judges import domain_utility, judge_recipe

    asked = [
        name
        for part in recipe.parts.values()
        for column in part.columns.values()
        if (name := column.evaluate.judge)
    ]
    for judge in map(judge_recipe, asked):
        if judge.kind == "measured":
            domain_utility(judge.domain)


def _claim(out: Path, recipe: PaperRecipe) -> None:
    mine = recipe.model_dump(mode="json")
    path = out / "paper.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise FspoError(f"{path}: this folder holds another recipe; take another --out")
    write_json(path, mine)
