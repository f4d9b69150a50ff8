"""The demo: synthesize, train, evaluate, report, one after the other, from one seed.

Every stage leaves its result in the output folder and is passed over when it is there, so an
interrupted demo goes on where it was when the same command is given again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from fspo.console import say
from fspo.errors import FspoError
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.files import write_json
from fspo.locks import LOCK
from fspo.recipe import SynthesizeRecipe, TrainRecipe
from fspo.sections import Section


class DemoRecipe(Section):
    """The demo: the three above, one after the other, from one seed."""

    synthesize: SynthesizeRecipe = SynthesizeRecipe()
    warm_up: TrainRecipe | None = None
    train: TrainRecipe = TrainRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()


def run_demo(recipe: DemoRecipe, out: Path, seed: int) -> Path:
    """Runs the recipe in `out`.

    Args:
        recipe: the settings of all stages.
        out: a new folder, or one that an earlier run with the same recipe and seed left.
        seed: everything random depends on it.

    Returns:
        The path of `report.html`.

    Raises:
        FspoError: if a stage cannot run, or `out` holds another run.
    """
    from fspo.domains import load_domain
    from fspo.evaluation.evaluate import evaluate
    from fspo.evaluation.report import report
    from fspo.learning.train import train
    from fspo.synthesis.run import synthesize

    _claim(out, recipe, seed)
    clock = _Clock(out / "seconds.json")
    plan = recipe.synthesize
    with clock.stage("synthesize"):
        if not (out / "data").is_dir():
            say("1 of 4: synthesizing users and their preferences")
            synthesize(
                load_domain(plan.domain),
                out / "data",
                model=plan.model,
                titles=plan.titles,
                users=plan.users,
                preferences_per_user=plan.preferences_per_user,
                seed=seed,
            )
    with clock.stage("train"):
        say("2 of 4: training")
        stages = [stage for stage in (recipe.warm_up, recipe.train) if stage]
        adapter = None
        for number, stage in enumerate(stages, 1):
            adapter = train(_placed(stage, out, number, adapter, seed), resume=True)
    with clock.stage("evaluate"):
        if not (out / "results.json").is_file():
            say("3 of 4: evaluating on users and titles that training never saw")
            assert adapter is not None
            evaluate(out / "data", [adapter], out, recipe.evaluate, seed)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    write_json(out / "results.json", results | {"seconds": clock.seconds})
    _join_logs(out, len(stages))
    say("4 of 4: writing the report")
    return report(out)


def _placed(
    stage: TrainRecipe, out: Path, number: int, adapter: Path | None, seed: int
) -> TrainRecipe:
    """A training stage with its place in the output folder, going on from the one before it."""
    return stage.model_copy(
        update={
            "data": str(out / "data"),
            "out": str(out / f"train-{number}"),
            "adapter": str(adapter) if adapter else stage.adapter,
            "seed": seed,
        }
    )


def _claim(out: Path, recipe: DemoRecipe, seed: int) -> None:
    mine = {"recipe": recipe.model_dump(mode="json"), "seed": seed}
    path = out / "demo.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != mine:
            raise FspoError(
                f"{path}: this folder holds a demo with another seed or recipe; "
                "take another --out, or remove the folder"
            )
        say(f"{out}: going on with the demo that was begun here")
    elif out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
        raise FspoError(f"{out}: this folder is not empty; take another --out")
    write_json(path, mine)


def _join_logs(out: Path, stages: int) -> None:
    """One log of all training stages, for the report."""
    lines = []
    for number in range(1, stages + 1):
        folder = out / f"train-{number}"
        objective = json.loads((folder / "fspo.json").read_text(encoding="utf-8"))["objective"]
        for line in json.loads((folder / "training_log.json").read_text(encoding="utf-8")):
            lines.append(line | {"stage": objective})
    write_json(out / "training_log.json", lines)


class _Clock:
    """Seconds spent in each stage, added up over interruptions, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        )
        self._stage, self._since = "", 0.0

    def stage(self, name: str) -> _Clock:
        self._stage = name
        return self

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self._since
        self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + spent, 1)
        write_json(self._path, self.seconds)
