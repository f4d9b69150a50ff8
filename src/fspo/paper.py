"""The paper's tables: makes the data, trains every method, evaluates, and sets ours beside theirs.

    fspo paper reviews --out runs/paper-reviews

Every step leaves its result in the output folder and is passed over when it is there, so that an
interrupted run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.files import write_json, write_text
from fspo.recipe import RECIPES

if TYPE_CHECKING:
    from fspo.recipe import PaperPart, PaperRecipe

TABLES = RECIPES / "paper"

Cell = dict[str, Any]  # of `results.json`: what was measured of one method


def recipe_path(name: str) -> Path:
    """The recipe of a table of ours, or a file.

    Raises:
        FspoError: if there is none of that name.
    """
    own = TABLES / f"{name}.yaml"
    if own.is_file():
        return own
    if Path(name).is_file():
        return Path(name)
    there = ", ".join(sorted(path.stem for path in TABLES.glob("*.yaml")))
    raise FspoError(f"there is no table {name!r}: take {there}, or give a recipe's path")


def run_paper(recipe: PaperRecipe, out: Path, seed: int) -> dict[str, Any]:
    """Runs a recipe in `out`, which an earlier run of the same recipe may have begun.

    Returns:
        What is in `table.json`; `table.md` holds the same to read.

    Raises:
        FspoError: if a step cannot run, or `out` holds another run.
    """
    _claim(out, recipe, seed)
    columns: dict[str, Any] = {}
    for name, part in recipe.parts.items():
        for column, results in _run_part(name, part, out / name, seed).items():
            columns[column] = {
                "methods": results["methods"],
                "predictions": results["predictions"],
                "differences": results["differences"],
                "published": part.columns[column].published,
                "judge": results["judge"],
                "model": results["model"],
                "users": results["users"],
            }
    table = {
        "title": recipe.title,
        "differs": recipe.differs,
        "seed": seed,
        "columns": columns,
    }
    write_json(out / "table.json", table)
    write_text(out / "table.md", render(table))
    return table


def _run_part(name: str, part: PaperPart, out: Path, seed: int) -> dict[str, Any]:
    """The results of each of the part's columns."""
    from fspo.evaluation.evaluate import evaluate
    from fspo.methods.train import train

    if not (out / "data").is_dir():
        say(f"{name}: making users and preferences")
        _make_data(part, out / "data", seed)
    policies = []
    for method, recipe in part.methods.items():
        say(f"{name}: training {method}")
        folder = out / "policies" / method.replace(" ", "-")
        placed = {"data": str(out / "data"), "out": str(folder), "seed": seed}
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


def _make_data(part: PaperPart, folder: Path, seed: int) -> None:
    if part.reviews is not None:
        from fspo.synthesis.run import run_reviews

        run_reviews(part.reviews.model_dump(), folder, seed)
        return
    from fspo.synthesis.described import run_described

    assert part.engine is not None
    run_described(part.engine, folder, seed)


def render(table: Mapping[str, Any]) -> str:
    """The table as Markdown: our win rates with 95% intervals, the published ones in brackets."""
    columns = table["columns"]
    methods = dict.fromkeys(name for column in columns.values() for name in column["methods"])
    methods |= dict.fromkeys(name for column in columns.values() for name in column["published"])
    lines = [
        f"# {table['title']}",
        "",
        "Win rate over base in percent, 95% interval over users; in brackets what the paper says.",
        "",
        f"| | {' | '.join(columns)} |",
        f"| --- |{' --- |' * len(columns)}",
    ]
    for name in methods:
        cells = (
            _cell(column["methods"].get(name), column["published"].get(name))
            for column in columns.values()
        )
        lines.append(f"| {_plain(name)} | {' | '.join(cells)} |")
    first = next(iter(columns.values()))
    lines += ["", f"Model {first['model']}; judge {first['judge']}; seed {table['seed']}."]
    if table["differs"]:
        lines += ["", f"What differs from the paper: {table['differs'].strip()}"]
    return "\n".join(lines) + "\n"


def _cell(measured: Cell | None, published: float | None) -> str:
    ours = "–"
    if measured:
        ours = f"{measured['winrate']:.1f}"
        if interval := measured["ci95"]:
            ours += f" ({interval[0]:.1f} to {interval[1]:.1f})"
    return ours if published is None else f"{ours} [{published:.1f}]"


def _plain(name: str) -> str:
    """A method's name, which a recipe gives, as the text of a cell."""
    return name.replace("|", "\\|").replace("\n", " ")


def _claim(out: Path, recipe: PaperRecipe, seed: int) -> None:
    mine = {"recipe": recipe.model_dump(mode="json"), "seed": seed}
    path = out / "paper.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise FspoError(f"{path}: this folder holds another recipe or seed; take another --out")
    write_json(path, mine)
