"""One training run from its recipe: loads, trains, and writes a policy's folder.

The folder holds the adapter (or all weights), `fspo.json` with the settings that the policy is
used with, `training_log.json`, and `checkpoints/` while the run is not finished.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.files import write_json
from fspo.learning.policy import SETTINGS, reference_logps

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

    from fspo.learning.losses import TreeLoss
    from fspo.preferences.records import Preferences
    from fspo.recipe import TrainRecipe


def train(
    recipe: TrainRecipe, resume: bool = False, dataset: Callable[..., Any] | None = None
) -> Path:
    """Runs a recipe to its end.

    Args:
        recipe: with `data` and `out` given.
        resume: go on from the last whole checkpoint in `out`, if there is one. On a CPU the final
            weights are those of a run that was never interrupted, to rounding.
        dataset: makes the trees to train on from preferences, tokenizer and recipe; by default
            `EpisodeDataset`.

    Returns:
        The policy's folder.

    Raises:
        FspoError: if the recipe, the data or the model is at fault, if `out` holds another run, or
            if the loss is not finite.
    """
    from fspo.learning.adapters import policy_and_reference
    from fspo.learning.episodes import EpisodeDataset, collate
    from fspo.learning.trainer import FspoTrainer, ProgressLog, TreeModel

    out = prepare(recipe, resume)
    if (out / SETTINGS).is_file():
        say(f"{out}: trained already")
        return out
    preferences = training_data(recipe)
    model, frozen, tokenizer = policy_and_reference(recipe)
    episodes = (dataset or EpisodeDataset)(preferences, tokenizer, recipe)
    if episodes.left_out:
        say(f"{episodes.left_out} users are left out, who have too few preferences")
    if recipe.store_reference and recipe.objective != "sft":
        from fspo.learning.stored import StoredReference, reference_path

        path = reference_path(recipe, preferences, str(model.dtype))
        episodes = StoredReference(episodes, path, partial(reference_logps, model, frozen))
        frozen = None  # its memory is free for what learns
    with missing_packages_named():
        with _settings_taken():
            trainer = FspoTrainer(
                TreeModel(model),
                loss=_loss(recipe),
                frozen=frozen,
                tokens_at_once=recipe.micro_batch_tokens,
                args=arguments(recipe, out),
                train_dataset=episodes,
                data_collator=collate,
                callbacks=[ProgressLog()],
            )
        run(trainer, out, resume)
    trainer.save_model(str(out))  # by all processes: each may hold a part of the weights
    if trainer.is_world_process_zero():
        if recipe.adapter and recipe.reference == "start":
            shutil.copytree(
                recipe.adapter,
                out / "reference",
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("reference", "checkpoints"),
            )
        if recipe.lora is None:
            tokenizer.save_pretrained(out)
        finish(trainer, recipe, out)
    return out


def training_data(recipe: TrainRecipe) -> Preferences:
    """The preferences that the recipe trains on: those of its users, less what it leaves out.

    Raises:
        FspoError: if the data cannot be read, or nothing is left to learn from.
    """
    from fspo.learning.episodes import learned_from
    from fspo.preferences.reading import load_preferences
    from fspo.preferences.splitting import fewer, in_no_split

    every = load_preferences(recipe.data, recipe.drop_ties)
    if not recipe.holdout_users:
        for told in in_no_split(every.users.values(), recipe.split):
            say(f"{every.source}: {told}")
    kept = learned_from(every, recipe.split, recipe.holdout_users, recipe.holdout_prompts)
    return fewer(kept, recipe.users, recipe.preferences_per_user, recipe.seed)


@contextmanager
def missing_packages_named() -> Iterator[None]:
    """Inside, a package that a setting needs and that is not installed is a user's fault."""
    try:
        yield
    except (ImportError, RuntimeError) as error:
        told = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and "to be installed" not in told:
            raise
        raise FspoError(f"the recipe's training settings need a package: {told}") from error


def run(trainer: Trainer, out: Path, resume: bool) -> None:
    """Trains to the end, from the last whole checkpoint where there is one to go on from."""
    from transformers import PrinterCallback

    from fspo.learning.checkpoints import last_checkpoint

    trainer.remove_callback(PrinterCallback)  # standard output is for data
    checkpoint = last_checkpoint(out / "checkpoints") if resume else None
    if checkpoint:
        say(f"going on from {checkpoint}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # Another process may still be writing its part of a checkpoint, which is cleared away next.
    trainer.accelerator.wait_for_everyone()


def finish(trainer: Trainer, recipe: TrainRecipe, out: Path) -> None:
    """Writes the log and the settings beside the weights, and clears the checkpoints away."""
    log = [line for line in trainer.state.log_history if "loss" in line]
    write_json(out / "training_log.json", log)
    # Last, because it says that the folder is complete.
    write_json(out / SETTINGS, recipe.model_dump(exclude={"out", "trainer"}))
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _loss(recipe: TrainRecipe) -> TreeLoss:
    from fspo.learning.losses import TreeLoss

    return TreeLoss(
        recipe.objective,
        recipe.beta,
        recipe.logps,
        nll=recipe.nll,
        nll_descriptions=recipe.rat.nll if recipe.method == "rat" else 0.0,
    )


def take_leave() -> None:
    """Ends this process, its work done, if it trained with others; otherwise does nothing.

    At once, without the interpreter's own end, in which a process is aborted now and then, so that
    a job that has done all its work counts as failed ("terminate called without an active
    exception": a thread, gloo's most likely, is thrown out in the middle of a destructor). What is
    registered for the exit is done before.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def prepare(recipe: TrainRecipe, resume: bool) -> Path:
    """The output folder, after making sure that it is free or holds this very run."""
    for field in ("data", "out"):
        if not getattr(recipe, field):
            raise FspoError(f"{field}: not given; name it in the recipe or with --{field}")
    out = Path(recipe.out)
    path = out / "recipe.json"
    others = {section for section in ("rat", "vpl") if section != recipe.method}
    mine = recipe.model_dump(mode="json", exclude={"out", *others})
    defaults = type(recipe)().model_dump(mode="json", exclude={"out", *others})
    begun = (out / SETTINGS).is_file() or any((out / "checkpoints").glob("checkpoint-*"))
    if begun and path.is_file():
        # What an older version did not know yet was as it is by default now.
        there = _over(defaults, json.loads(path.read_text(encoding="utf-8")))
        differing = sorted(k for k in {*mine, *there} - others if mine.get(k) != there.get(k))
        if differing:
            key = differing[0]
            raise FspoError(
                f"{path}: this folder holds a run with other settings ({key}: {there.get(key)!r} "
                f"there, {mine.get(key)!r} here). Take another --out, or the same settings."
            )
        if not resume:
            raise FspoError(f"{out}: holds this run already; add --resume, or take another --out")
    write_json(path, mine)
    return out


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given, with defaults for what was not, in sections of a recipe, too."""
    sections = {
        key: defaults[key] | value
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return defaults | given | sections


def arguments(recipe: TrainRecipe, out: Path) -> TrainingArguments:
    """The recipe's transformers.TrainingArguments.

    Raises:
        FspoError: if they do not take a setting.
    """
    from fspo.learning.trainer import training_arguments

    with _settings_taken():
        return training_arguments(recipe, out / "checkpoints")


@contextmanager
def _settings_taken() -> Iterator[None]:
    """Inside, a setting that transformers does not take is a user's fault."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise FspoError(
            f"the recipe's training settings are not taken: {' '.join(str(error).split())}"
        ) from error
