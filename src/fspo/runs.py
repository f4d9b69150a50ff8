"""Runs as a program starts them: the same as the commands of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def synthesize(
    domain: str | Path,
    out: str | Path,
    recipe: str | Path | None = None,
    *,
    seed: int = 0,
    **settings: object,
) -> dict[str, Any]:
    """Makes synthetic users and their preferences, as `fspo synthesize` does.

    Args:
        domain: the name of one that comes with fspo, or a folder with a `domain.yaml`.
        out: folder for the preference dataset; one that is there is replaced.
        recipe: a YAML file, or the name of one that comes with fspo; by default the domain's own.
        seed: what every random choice depends on.
        settings: keys of the recipe, which win over the file.

    Returns:
        Figures of the dataset, such as how many `preferences` it has.

    Raises:
        FspoError: if the domain, the recipe or a model cannot be used, or the budget is used up.
    """
    from fspo.locks import only_run
    from fspo.synthesis.described import engine_recipe, run_described
    from fspo.synthesis.run import run_reviews

    given = settings | {"domain": str(domain)}
    with only_run(Path(out), beside=True):
        if domain == "reviews" and recipe is None:
            return run_reviews(given, Path(out), seed)
        plan = engine_recipe(_path(recipe), given, None, None)
        return run_described(plan, Path(out), seed)


def train(recipe: str | Path | None = None, *, resume: bool = False, **settings: object) -> Path:
    """Trains a policy on users' preferences, as `fspo train` does.

    Args:
        recipe: a YAML file, or the name of one that comes with fspo, such as "fspo-reviews".
        resume: whether to go on from the last whole checkpoint, if there is one.
        settings: keys of a training recipe, which win over the file: `data` and `out` at least,
            where it does not have them.

    Returns:
        The policy's folder, for `load_policy` and `evaluate`.

    Raises:
        FspoError: if the recipe, the data or the model is at fault, or `out` holds another run.
    """
    from fspo.methods.table import train as run
    from fspo.recipe import TrainRecipe, read_recipe

    return run(read_recipe(TrainRecipe, _path(recipe), settings), resume)


def evaluate(
    data: str | Path,
    policies: Sequence[str | Path],
    out: str | Path,
    recipe: str | Path | None = None,
    *,
    seed: int = 0,
    trust_domain: bool = False,
    **settings: object,
) -> dict[str, Any]:
    """Measures preference accuracy by shots and, with a judge, win rates, as `fspo evaluate` does.

    Args:
        data: a preference dataset: a folder, a file or a hub id.
        policies: folders that `train` wrote, or NAME=FOLDER; results are about the first one.
        out: folder for `results.json` and what methods said.
        recipe: a YAML file.
        seed: of the pairs drawn and the answers sampled.
        trust_domain: whether Python is run of a domain's folder that a judge's YAML file names.
        settings: keys of an evaluation recipe, which win over the file.

    Returns:
        What is in `results.json`.

    Raises:
        FspoError: if a policy is not there, the users have too few preferences, or the judge does
            not know them.
    """
    from fspo.evaluation.evaluate import evaluate as run
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.locks import only_run
    from fspo.recipe import read_recipe

    with only_run(Path(out)):
        given = read_recipe(EvaluateRecipe, _path(recipe), settings)
        return run(data, policies, Path(out), given, seed, trust_domain)


def _path(recipe: str | Path | None) -> Path | None:
    return None if recipe is None else Path(recipe)
