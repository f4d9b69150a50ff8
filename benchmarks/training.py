"""Training speed and memory, this project's tree beside TRL's DPOTrainer, in one run.

    make bench          (or: python benchmarks/training.py --json benchmarks/results/NAME.json)

Same model, LoRA, dtype, objective and texts; each contestant in a process of its own, one after
the other, so that its peak memory is its own. TRL gets every pair as it would be written for it:
the shots and the question as prompt, and the two responses. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fspo import Episode, EpisodeTree, load_model
from fspo.evaluation.evaluate import versions
from fspo.learning.planning import matrix_product_rate
from fspo.preferences.reading import load_preferences

SHOTS = 8
RANK = 16
BETA = 0.01
EPISODES = Path(__file__).parent / "reviews"
CONTESTANTS = ("fspo chain", "trl chain", "trl 8 shots", "fspo paper", "trl paper")


def episodes(count: int) -> list[Episode]:
    preferences = load_preferences(EPISODES)
    users = sorted(preferences.by_user)
    return [preferences.episode(users[i % len(users)], SHOTS, seed=i) for i in range(count)]


def run_fspo(template: str, steps: int) -> dict[str, Any]:
    """Times optimizer steps of our Trainer, one episode in each, after one that warms up."""
    from torch.profiler import profile

    from fspo.learning.episodes import collate
    from fspo.learning.train import new_adapter
    from fspo.learning.trainer import FspoTrainer, TreeModel, training_arguments
    from fspo.recipe import Lora, TrainRecipe

    recipe = TrainRecipe(
        template=template,
        lora=Lora(rank=RANK, alpha=2 * RANK),
        beta=BETA,
        batch_size=1,
        episodes=steps + 1,
        save_every=10**6,
        log_every=10**6,
        warmup_steps=0,
    )
    model, tokenizer = load_model()
    trees = [EpisodeTree.from_episode(e, tokenizer, template) for e in episodes(steps + 1)]
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = FspoTrainer(
            TreeModel(new_adapter(model, recipe)),
            objective="ipo",
            beta=BETA,
            logps="sum",
            frozen=None,
            args=training_arguments(recipe, Path(folder)),
            train_dataset=trees,
            data_collator=collate,
            callbacks=[times.callback()],
        )
        trainer.train()
    peak = peak_memory()
    # Counts matrix products; attention's own are left out, so the share is a lower bound.
    with profile(with_flops=True) as work:
        trainer.compute_loss(trainer.model, {"trees": trees[:1]}).backward()
    seconds = times.seconds[1:]
    pairs = sum(len(tree.responses) // 2 for tree in trees[1:])
    tokens = sum(len(tree) for tree in trees[1:])
    rate = sum(event.flops for event in work.key_averages()) / (
        len(trees[0]) / (tokens / sum(seconds))
    )
    return {
        "pairs": pairs,
        "seconds": sum(seconds),
        "pairs_per_second": pairs / sum(seconds),
        "tokens_per_second": tokens / sum(seconds),
        "peak_memory_gb": peak,
        "tokens_per_tree": tokens / len(seconds),
        "gflops_per_second": rate / 1e9,
        "share_of_matmul_rate": rate / 1e12 / matrix_product_rate(),
    }


def run_trl(pairs_of: str, steps: int) -> dict[str, Any]:
    """Times TRL's optimizer steps, one pair in each, after one that warms up."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = load_model()
    template = "paper" if pairs_of == "paper" else "chain"
    if pairs_of == "chain":
        steps = SHOTS + 1  # one at each number of shots: a fair sample of a chain's pairs
    rows = []
    for episode in episodes(steps + 1):
        tree = EpisodeTree.from_episode(episode, tokenizer, template)
        for k, context in enumerate(tree.contexts):
            texts = (context, tree.chosen[k][:-1], tree.rejected[k][:-1])
            rows.append(
                dict(
                    zip(("prompt", "chosen", "rejected"), map(tokenizer.decode, texts), strict=True)
                )
                | {"shots": k}
            )
    if pairs_of == "8 shots":
        rows = [row for row in rows if row["shots"] == SHOTS]
    if pairs_of == "chain":
        # Each from another episode; the first one, which warms up, has no shots, as the last.
        rows = [
            row for i, row in enumerate(rows) if row["shots"] == (i // (SHOTS + 1)) % (SHOTS + 1)
        ]
    rows = rows[: steps + 1]
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=model,
            args=DPOConfig(
                output_dir=folder,
                per_device_train_batch_size=1,
                num_train_epochs=1,
                beta=BETA,
                loss_type="ipo",
                max_length=None,
                learning_rate=2e-4,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_steps=10**6,
                bf16=False,
                fp16=False,
                gradient_checkpointing=False,
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(
                [{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows]
            ),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
            callbacks=[times.callback()],
        )
        trainer.train()
    seconds = times.seconds[1:]
    lengths = [
        sum(len(tokenizer(r["prompt"] + r[k])["input_ids"]) + 1 for k in ("chosen", "rejected"))
        for r in rows
    ]
    tokens = sum(lengths) * len(seconds) / len(lengths)
    return {
        "pairs": len(seconds),
        "seconds": sum(seconds),
        "pairs_per_second": len(seconds) / sum(seconds),
        "tokens_per_second": tokens / sum(seconds),
        "peak_memory_gb": peak_memory(),
    }


class StepTimes:
    """Seconds of every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def callback(self) -> Any:
        """What Trainer calls at the begin and the end of each step."""
        from transformers import TrainerCallback

        times = self

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.since = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                times.seconds.append(time.perf_counter() - self.since)

        return Clock()


def peak_memory() -> float:
    """The most memory this process has held, in GB (on CUDA: the most that tensors took there)."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e9)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpu,
        "matmul_gflops": round(1e3 * matrix_product_rate(), 1),
    }


def main() -> None:
    """Runs every contestant in a process of its own and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=6, help="optimizer steps that are timed")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        who, what = given.contestant.split(" ", 1)
        measured = run_fspo(what, given.steps) if who == "fspo" else run_trl(what, given.steps)
        print(json.dumps(measured))
        return
    results = {name: contest(name, given.steps) for name in CONTESTANTS}
    import trl

    text = json.dumps(
        {
            "machine": machine(),
            "settings": {
                "shots": SHOTS,
                "lora_rank": RANK,
                "steps": given.steps,
                "dtype": "float32",
            },
            "versions": versions() | {"trl": trl.__version__},
            "contestants": results,
            "speed_up": {
                "chain: pairs at 0 to 8 shots, against TRL on pairs at 8 shots": ratio(
                    results, "fspo chain", "trl 8 shots"
                ),
                "chain: pairs at 0 to 8 shots, against TRL on pairs at 0 to 8 shots": ratio(
                    results, "fspo chain", "trl chain"
                ),
                "paper: pairs at 8 shots, against TRL on the same": ratio(
                    results, "fspo paper", "trl paper"
                ),
            },
        },
        indent=2,
    )
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


def contest(name: str, steps: int) -> dict[str, Any]:
    """One contestant's figures."""
    print(f"measuring: {name}", file=sys.stderr)
    command = [sys.executable, __file__, "--contestant", name, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def ratio(results: dict[str, dict[str, Any]], ours: str, theirs: str) -> float:
    """How many times as many pairs a second."""
    return float(results[ours]["pairs_per_second"] / results[theirs]["pairs_per_second"])


if __name__ == "__main__":
    main()
