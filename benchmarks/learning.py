"""What speed buys: held-out accuracy by training time, of the chain, one target a prompt, and TRL.

    python benchmarks/learning.py DATA --minutes 20 --json FILE --plot FILE.svg

DATA is a folder whose users are split, such as `fspo synthesize reviews` makes. Each contestant is
trained for as long, on the same machine, with the same model, LoRA, objective and learning rate,
one after the other, each in a process of its own. The clock stands still while accuracy is
measured: how often the implicit reward of what a new user chose is the higher one, of two pairs
after the same 8 shots.
Users side by side in the data take turns together, as with `paired: true`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contestants import trl_arguments, trl_row
from machine import machine

from fspo import EpisodeTree, load_model, load_preferences
from fspo.console import say
from fspo.evaluation.evaluate import versions
from fspo.files import write_json, write_text
from fspo.learning.episodes import EpisodeDataset, collate, training_preferences
from fspo.recipe import Lora, TrainRecipe

NAMES = ("fspo chain", "fspo paper", "trl")
SHOTS = 8
BETA = 0.1
RATE = 1e-3
ENDLESS = 100_000  # episodes: time ends a run, not data
MARKS = 6  # how often accuracy is measured
ASKED = 2  # pairs of each new user, after the same shots
LORA = Lora(rank=16, alpha=16, targets=["q_proj", "k_proj", "v_proj", "o_proj"], last_layers=16)


def recipe(template: str, batch: int) -> TrainRecipe:
    return TrainRecipe(
        template=template,
        objective="dpo",
        beta=BETA,
        shots=SHOTS,
        episodes=ENDLESS,
        paired=True,
        batch_size=batch,
        lora=LORA,
        learning_rate=RATE,
        warmup_steps=0,
        scheduler="constant",
        log_every=10**6,
        save_every=10**6,
    )


def held_out(data: Path, tokenizer: Any, template: str) -> list[EpisodeTree]:
    """New users' shots as a contestant reads them, and the pairs that it is asked about."""
    from fspo.learning.probes import probe_trees

    preferences = load_preferences(data)
    trees = []
    for user in sorted(u for u in preferences.by_user if preferences.users[u].split == "test"):
        said = preferences.episode(user, SHOTS + ASKED - 1).preferences
        trees += probe_trees(user, said[:SHOTS], said[SHOTS:], [SHOTS], tokenizer, template)
    return trees


class Clock:
    """Measures accuracy every so often, and ends a run when its time is over."""

    def __init__(self, model: Any, trees: Sequence[EpisodeTree], seconds: float) -> None:
        self._model, self._trees, self._seconds = model, trees, seconds
        self._measuring = 0.0
        self._before: list[Any] = []  # the reference's log-probs, which stay as they are
        self.curve: list[dict[str, float]] = []

    def callback(self) -> Any:
        """What Trainer calls at the begin of training and after each step."""
        from transformers import TrainerCallback

        clock = self

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock.begun = time.monotonic()
                clock.note(0.0, 0)

            def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
                spent = time.monotonic() - clock.begun - clock._measuring
                if spent >= clock._seconds * len(clock.curve) / MARKS:
                    clock.note(spent, state.global_step)
                control.should_training_stop = spent >= clock._seconds

        return Watch()

    begun: float

    def note(self, spent: float, steps: int) -> None:
        """One point of the curve; the time that it takes is not the run's."""
        import torch

        from fspo.learning.policy import reference_logps
        from fspo.learning.probes import probe_gaps
        from fspo.learning.scoring import response_logps

        since = time.monotonic()
        training = self._model.training
        self._model.eval()
        right = []
        with torch.inference_mode():
            if not self._before:
                self._before = [reference_logps(self._model, None, [t])[0] for t in self._trees]
            for tree, before in zip(self._trees, self._before, strict=True):
                # An adapter starts out as nothing: the first point costs the reference alone.
                now = response_logps(self._model, [tree])[0] if steps else before
                right += [
                    0.5 if gap == 0 else float(gap > 0)
                    for gap in probe_gaps([now - before], 1)[0].tolist()
                ]
        self._model.train(training)
        self.curve.append(
            {"minutes": spent / 60, "steps": steps, "accuracy": sum(right) / len(right)}
        )
        self._measuring += time.monotonic() - since


def start(settings: TrainRecipe, data: Path) -> tuple[Any, Any, EpisodeDataset]:
    """The model with an adapter that has learned nothing, its tokenizer, and what it will read."""
    from fspo.learning.adapters import new_adapter

    model, tokenizer = load_model()
    preferences = training_preferences(load_preferences(data), "train")
    dataset = EpisodeDataset(preferences, tokenizer, settings)
    return new_adapter(model, settings), tokenizer, dataset


def train_fspo(
    model: Any, dataset: EpisodeDataset, settings: TrainRecipe, callbacks: Sequence[Any] = ()
) -> None:
    """Trains in place, by our trainer."""
    from fspo.learning.losses import TreeLoss
    from fspo.learning.settings import training_arguments
    from fspo.learning.trainer import FspoTrainer, TreeModel

    with tempfile.TemporaryDirectory() as folder:
        FspoTrainer(
            TreeModel(model),
            loss=TreeLoss("dpo", BETA),
            args=training_arguments(settings, Path(folder)),
            train_dataset=dataset,
            data_collator=collate,
            callbacks=list(callbacks),
        ).train()


def run_fspo(template: str, data: Path, seconds: float, batch: int) -> list[dict[str, float]]:
    settings = recipe(template, batch)
    model, tokenizer, dataset = start(settings, data)
    clock = Clock(model, held_out(data, tokenizer, template), seconds)
    train_fspo(model, dataset, settings, [clock.callback()])
    return clock.curve


def run_trl(data: Path, seconds: float, batch: int) -> list[dict[str, float]]:
    from datasets import Dataset
    from trl import DPOTrainer

    model, tokenizer, dataset = start(recipe("chain", batch), data)
    # More than any machine with 2 cores reads in the time.
    rows = [trl_row(dataset[k], -1, tokenizer) for k in range(2000)]
    clock = Clock(model, held_out(data, tokenizer, "chain"), seconds)
    with tempfile.TemporaryDirectory() as folder:
        DPOTrainer(
            model=model,
            args=trl_arguments(
                folder,
                per_device_train_batch_size=1,
                gradient_accumulation_steps=batch,
                beta=BETA,
                loss_type="sigmoid",
                learning_rate=RATE,
                lr_scheduler_type="constant",
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[clock.callback()],
        ).train()
    return clock.curve


def drawn(curves: dict[str, list[dict[str, float]]]) -> str:
    """The curves, as an SVG."""
    import io

    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(
            [point["minutes"] for point in curve],
            [point["accuracy"] for point in curve],
            marker="o",
            label=name,
        )
    axes.set(xlabel="minutes of training", ylabel="accuracy after 8 shots, new users")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def main() -> None:
    """Trains every contestant for as long, prints and keeps the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=20, help="of training, for each")
    parser.add_argument("--batch", type=int, default=4, help="episodes in a step of the chain")
    parser.add_argument("--pairs", type=int, default=8, help="in a step of the others")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--plot", type=Path, help="draw it here (.svg)")
    parser.add_argument("--contestant", choices=NAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seconds = 60 * given.minutes
    if given.contestant:
        if given.contestant == "trl":
            curve = run_trl(given.data, seconds, given.pairs)
        else:
            os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as `fspo train` does
            template = given.contestant.split()[1]
            batch = given.batch if template == "chain" else given.pairs
            curve = run_fspo(template, given.data, seconds, batch)
        print(json.dumps(curve))
        return
    curves = {}
    for name in NAMES:
        say(f"{name}: {given.minutes:g} minutes")
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--contestant", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        curves[name] = json.loads(done.stdout.strip().splitlines()[-1])
    settings = {
        "minutes": given.minutes,
        "episodes_in_a_step": given.batch,
        "pairs_in_a_step_of_the_others": given.pairs,
        "recipe": recipe("chain", given.batch).model_dump(mode="json"),
    }
    results = {
        "machine": machine(),
        "settings": settings,
        "versions": versions(),
        "curves": curves,
    }
    print(json.dumps(results, indent=2))
    if given.json:
        write_json(given.json, results)
    if given.plot:
        write_text(given.plot, drawn(curves))


if __name__ == "__main__":
    main()
