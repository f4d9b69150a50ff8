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
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.files import write_json, write_text
from fspo.learning.card import card
from fspo.learning.checkpoints import CHECKPOINTS
from fspo.learning.identity import (
    FINGERPRINTS,
    PLACES,
    check_same,
    fingerprints_of,
    is_same_place,
    read_fingerprints,
)
from fspo.learning.learned import Learned, save_learned
from fspo.learning.objectives import objective_named
from fspo.learning.policy import REFERENCE, SETTINGS, reference_logps
from fspo.learning.weights import whole_files
from fspo.locks import first_process, only_run
from fspo.places import noted

if TYPE_CHECKING:
    from fspo.learning.losses import TreeLoss
    from fspo.learning.resumable import ResumableTrainer
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
        FspoError: if the recipe, the data or the model is at fault, if `out` holds another run or
            one is at work there, if it cannot be written, or if the loss is not finite.
    """
    with only_run(output_folder(recipe)):
        return _train(recipe, resume, dataset)


def _train(recipe: TrainRecipe, resume: bool, dataset: Callable[..., Any] | None) -> Path:
    from fspo.learning.adapters import policy_and_reference
    from fspo.learning.episodes import EpisodeDataset, collate
    from fspo.learning.resumable import faults_of_writing_named
    from fspo.learning.settings import settings_taken, training_arguments
    from fspo.learning.trainer import FspoTrainer, ProgressLog, TreeModel

    preferences = training_data(recipe)
    out = prepare(recipe, resume, preferences)
    if (out / SETTINGS).is_file():
        say(f"{out}: trained already")
        return out
    model, frozen, tokenizer = policy_and_reference(recipe)
    episodes = (dataset or EpisodeDataset)(preferences, tokenizer, recipe)
    if episodes.left_out:
        say(f"{episodes.left_out} users are left out, who have too few preferences")
    if recipe.store_reference and objective_named(recipe.objective).needs_reference:
        from fspo.learning.stored import StoredReference, reference_path

        path = reference_path(recipe, preferences, str(model.dtype))
        episodes = StoredReference(episodes, path, partial(reference_logps, model, frozen))
        frozen = None  # its memory is free for what learns
    with settings_taken(recipe):
        trainer = FspoTrainer(
            TreeModel(model),
            loss=_loss(recipe),
            frozen=frozen,
            tokens_at_once=recipe.micro_batch_tokens,
            args=training_arguments(recipe, out),
            train_dataset=episodes,
            data_collator=collate,
            callbacks=[ProgressLog()],
        )
    run(trainer, recipe, out, resume)
    with faults_of_writing_named(out):
        trainer.save_model(str(out))  # by all processes: each may hold a part of the weights
        if trainer.is_world_process_zero():
            if recipe.adapter and recipe.reference == "start":
                _keep_reference(Path(recipe.adapter), out / REFERENCE)
            if recipe.lora is None:
                with whole_files(out) as unfinished:
                    tokenizer.save_pretrained(unfinished)
            finish(trainer, recipe, out, preferences)
    return out


def _keep_reference(adapter: Path, folder: Path) -> None:
    """Copies the adapter that a run started from, which is the policy's reference."""
    with whole_files(folder) as unfinished:
        for path in adapter.iterdir():
            if path.is_file() and not path.name.startswith(".") and path.name != "README.md":
                shutil.copyfile(path, unfinished / path.name)


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


def run(trainer: ResumableTrainer, recipe: TrainRecipe, out: Path, resume: bool) -> None:
    """Trains to the end, from the last whole checkpoint where there is one to go on from.

    Raises:
        FspoError: if a setting is not taken, or what was learned is not finite.
    """
    from transformers import PrinterCallback

    from fspo.learning.checkpoints import to_go_on_from
    from fspo.learning.settings import FirstStep, settings_taken

    trainer.remove_callback(PrinterCallback)  # standard output is for data
    first = FirstStep()
    trainer.add_callback(first)
    checkpoint = None
    if resume:
        checkpoint = to_go_on_from(out / CHECKPOINTS, trainer.args.world_size)
    if checkpoint:
        say(f"going on from {checkpoint}")
    try:
        with settings_taken(recipe, first):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RuntimeError as error:
        if "without overflow" not in str(error):
            raise
        raise FspoError(
            f"learning_rate: {recipe.learning_rate:g} is too large: no weight can take such a step"
        ) from error
    # Another process may still be writing its part of a checkpoint, which is cleared away next.
    trainer.accelerator.wait_for_everyone()
    trainer.check_result()


def finish(
    trainer: ResumableTrainer, recipe: TrainRecipe, out: Path, preferences: Preferences
) -> None:
    """Writes log, card and settings beside the weights, and clears the checkpoints away."""
    from fspo.learning.checkpoints import numbered

    log = [line for line in trainer.state.log_history if "loss" in line]
    write_json(out / "training_log.json", log)
    adapter = Path(recipe.adapter) if recipe.adapter else None
    shares = (recipe.holdout_users, recipe.holdout_prompts)
    save_learned(out, Learned.of(preferences, shares), adapter)
    write_text(out / "README.md", card(recipe, out.resolve().name, preferences, log))
    settings = recipe.model_dump(exclude={"out", "trainer"})
    settings |= noted({key: settings[key] for key in PLACES}, out)
    # Last, because it says that the folder is complete.
    write_json(out / SETTINGS, settings | {"fingerprints": read_fingerprints(out)})
    for checkpoint in numbered(out / CHECKPOINTS).values():
        shutil.rmtree(checkpoint, ignore_errors=True)
    with suppress(OSError):  # where somebody has put a copy, it stays
        (out / CHECKPOINTS).rmdir()


def _loss(recipe: TrainRecipe) -> TreeLoss:
    from fspo.learning.losses import TreeLoss

    return TreeLoss(recipe.objective, recipe.beta, recipe.logps, nll=recipe.nll)


def shutdown() -> None:
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


def output_folder(recipe: TrainRecipe) -> Path:
    """Returns where a recipe's run writes to.

    Raises:
        FspoError: if the recipe does not say, or not what it learns from.
    """
    for field in ("data", "out"):
        if not getattr(recipe, field):
            raise FspoError(f"{field}: not given; name it in the recipe or with --{field}")
    return Path(recipe.out)


def prepare(recipe: TrainRecipe, resume: bool, preferences: Preferences) -> Path:
    """The output folder, after making sure that it is free or holds this very run."""
    out = output_folder(recipe)
    path = out / "recipe.json"
    others = recipe.of_other_methods()
    mine = recipe.model_dump(mode="json", exclude={"out", *others})
    defaults = type(recipe)().model_dump(mode="json", exclude={"out", *others})
    now, known = fingerprints_of(recipe, preferences), read_fingerprints(out)
    begun = (out / SETTINGS).is_file() or any((out / CHECKPOINTS).glob("checkpoint-*"))
    if begun:
        # What an older version did not know yet was as it is by default now.
        there = _over(defaults, _recipe_there(path))
        compared = {*mine, *there} - others - {*PLACES}
        differing = sorted(k for k in compared if mine.get(k) != there.get(k))
        if not known:  # by an earlier version
            differing += [k for k in PLACES if not is_same_place(mine.get(k), there.get(k))]
        if differing:
            key = differing[0]
            raise FspoError(
                f"{path}: this folder holds a run with other settings ({key}: {there.get(key)!r} "
                f"there, {mine.get(key)!r} here). Take another --out, or the same settings."
            )
        check_same(out, known, now, there, mine)
        if not resume:
            raise FspoError(f"{out}: holds this run already; add --resume, or take another --out")
    if first_process():
        write_json(path, mine)
        write_json(out / FINGERPRINTS, now)
    return out


def _recipe_there(path: Path) -> dict[str, Any]:
    """The recipe of the run that has begun in a folder.

    Raises:
        FspoError: if it cannot be read, so that nobody can tell whether it is the same.
    """
    try:
        recipe: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError) as error:
        raise FspoError(
            f"{path}: the recipe of the run in this folder is missing or damaged, so that it "
            "cannot be gone on with. Take another --out, or remove the folder."
        ) from error
    return recipe


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns what was given, with defaults for what was not, in sections of a recipe, too."""
    sections = {
        key: defaults[key] | value
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return defaults | given | sections
