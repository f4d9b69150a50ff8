"""One contestant of the training benchmark: this project's tree, or TRL's DPOTrainer.

    python benchmarks/contestants.py "fspo chain" --shots 8 --words 48 --steps 3 --batch 1

Same model, LoRA, dtype, objective and texts for all. TRL gets every pair as it would be written for
it: the shots and the question as prompt, and the two responses. Each runs as it comes: `fspo train`
asks PyTorch for huge pages, and so do its contestants here. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import peak_memory

from fspo import Episode, EpisodeTree, Preference, load_model
from fspo.learning.planning import matrix_product_rate
from fspo.preferences.reading import load_preferences

RANK = 16
BETA = 0.01
TEXTS = Path(__file__).parent / "reviews"
NAMES = ("fspo chain", "fspo paper", "trl", "trl precomputed", "trl paper")
FEWER = 4  # numbers of shots below the most that TRL is timed at, for its mean over a chain's pairs


def episodes(count: int, shots: int, words: int | None, seed: int = 0) -> list[Episode]:
    """Episodes of reviews: as they are, or made of their words with so many in each response."""
    preferences = load_preferences(TEXTS)
    users = sorted(preferences.by_user)
    if words is None:
        return [preferences.episode(users[i % len(users)], shots, seed=i) for i in range(count)]
    corpus = [word for _, p in preferences for word in p.chosen.split()]
    prompts = [p.prompt for _, p in preferences]
    generator = np.random.default_rng(seed)

    def response() -> str:
        start = int(generator.integers(len(corpus)))
        return " ".join(corpus[(start + k) % len(corpus)] for k in range(words))

    def preference() -> Preference:
        return Preference(prompts[int(generator.integers(len(prompts)))], response(), response())

    return [Episode("user", [preference() for _ in range(shots + 1)]) for _ in range(count)]


def run_fspo(
    template: str, shots: int, words: int | None, steps: int, batch: int
) -> dict[str, Any]:
    """Times optimizer steps of our Trainer, `batch` episodes in each, after one that warms up."""
    from torch.profiler import profile

    from fspo.learning.adapters import new_adapter
    from fspo.learning.episodes import collate
    from fspo.learning.losses import TreeLoss
    from fspo.learning.settings import training_arguments
    from fspo.learning.trainer import FspoTrainer, TreeModel
    from fspo.recipe import Lora, TrainRecipe

    recipe = TrainRecipe(
        template=template,
        lora=Lora(rank=RANK, alpha=2 * RANK),
        beta=BETA,
        batch_size=batch,
        micro_batch_size=batch,
        episodes=(steps + 1) * batch,
        save_every=10**6,
        log_every=10**6,
        warmup_steps=0,
    )
    model, tokenizer = load_model()
    trees = [
        EpisodeTree.from_episode(e, tokenizer, template)
        for e in episodes((steps + 1) * batch, shots, words)
    ]
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = FspoTrainer(
            TreeModel(new_adapter(model, recipe)),
            loss=TreeLoss("ipo", BETA),
            args=training_arguments(recipe, Path(folder)),
            train_dataset=trees,
            data_collator=collate,
            callbacks=[times.callback()],
        )
        trainer.train()
    peak, seconds = peak_memory(), sum(times.seconds[1:])
    # It counts matrix products, but for attention's own.
    with profile(with_flops=True) as work:
        trainer.compute_loss(trainer.model, {"trees": trees[:batch]}).backward()
    flop = sum(event.flops for event in work.key_averages()) + attention_flop(model, trees[:batch])
    timed = trees[batch:]
    tokens, read = sum(map(len, timed)), sum(map(len, trees[:batch]))
    rate = flop / read * tokens / seconds
    pairs = sum(len(tree.responses) // 2 for tree in timed)
    return {
        "pairs": pairs,
        "seconds": seconds,
        "pairs_per_second": pairs / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_gb": peak,
        "tokens_per_tree": tokens / len(timed),
        "context": max(tree.longest_path for tree in timed),
        "dropped_shots": sum(tree.dropped for tree in trees),
        "gflops_per_second": rate / 1e9,
        "share_of_matmul_rate": rate / 1e12 / matrix_product_rate(),
    }


def attention_flop(model: Any, trees: Sequence[EpisodeTree]) -> float:
    """Of attention's matrix products in a step: scores and sums over what each token sees.

    Two products forward, by the policy and by the reference, and four backward.
    """
    config = model.config
    width = config.num_attention_heads * config.head_dim * config.num_hidden_layers
    return float((2 + 2 + 4) * 2 * width * sum(tree.visible().sum() for tree in trees))


def run_trl(
    template: str, shots: int, words: int | None, steps: int, batch: int, precomputed: bool
) -> dict[str, Any]:
    """Times TRL's optimizer steps, `batch` pairs in each, after one that warms up.

    First at all shots, then, for the chain, once in the middle of each of `FEWER` equal parts of
    the numbers of shots below: a pair's time grows with them, so their mean is that of a chain's
    pairs.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOTrainer

    numbers = [shots] * (steps + 1)
    if template == "chain":
        numbers += [round(shots * (part + 0.5) / FEWER) for part in range(FEWER)]
    model, tokenizer = load_model()
    rows = []
    for place, episode in enumerate(episodes(len(numbers) * batch, shots, words)):
        tree = EpisodeTree.from_episode(episode, tokenizer, template)
        k = numbers[place // batch] if template == "chain" else 0
        rows.append(trl_row(tree, k, tokenizer))
    times, before = StepTimes(), 0.0

    class Timed(DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal before
            since = time.perf_counter()
            done = super()._precompute_ref_logps(*args, **kwargs)
            before += time.perf_counter() - since
            return done

    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=model,
            args=trl_arguments(
                folder,
                per_device_train_batch_size=batch,
                beta=BETA,
                loss_type="ipo",
                learning_rate=2e-4,
                precompute_ref_log_probs=precomputed,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
            callbacks=[times.callback()],
        )
        trainer.train()
    # Its own pass for the reference belongs to every step alike in kind: it scales the steps' time.
    share = 1 + before / sum(times.seconds)
    most = float(np.mean(times.seconds[1 : steps + 1])) * share
    measured = {
        "seconds": most * steps,
        "pairs": steps * batch,
        "pairs_per_second": batch / most,
        "reference_seconds": before,
        "peak_memory_gb": peak_memory(),
    }
    if fewer := times.seconds[steps + 1 :]:
        mean = float(np.mean(fewer)) * share
        measured["pairs_per_second_at_0_to_all_shots"] = batch / mean
    return measured


def trl_row(tree: EpisodeTree, k: int, tokenizer: Any) -> dict[str, str]:
    """A tree's k-th pair as TRL takes it, without the end-of-text tokens that it adds."""
    texts = (tree.contexts[k], tree.chosen[k][:-1], tree.rejected[k][:-1])
    return dict(zip(("prompt", "chosen", "rejected"), map(tokenizer.decode, texts), strict=True))


def trl_arguments(folder: str, **settings: Any) -> Any:
    """A DPOConfig that does as our trainer does, and nothing besides; rows in their own order."""
    import torch
    from trl import DPOConfig

    return DPOConfig(
        output_dir=folder,
        num_train_epochs=1,
        max_length=None,
        train_sampling_strategy="sequential",
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=10**6,
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        **settings,
    )


class StepTimes:
    """Seconds of every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def callback(self) -> Any:
        """What Trainer calls at the begin and the end of each step."""
        import torch
        from transformers import TrainerCallback

        times = self

        def now() -> float:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return time.perf_counter()

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.since = now()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                times.seconds.append(now() - self.since)

        return Clock()


def main() -> None:
    """Measures one contestant and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--shots", type=int, required=True)
    parser.add_argument("--words", type=int, help="of each response; default: reviews as they are")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    who, what = (given.name + " chain").split()[:2]
    sizes = (given.shots, given.words, given.steps, given.batch)
    if who == "fspo":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as `fspo train` does
        measured = run_fspo(what, *sizes)
    else:
        template = "paper" if what == "paper" else "chain"
        measured = run_trl(template, *sizes, precomputed=what == "precomputed")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
