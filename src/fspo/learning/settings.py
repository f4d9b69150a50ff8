"""A recipe in the words of transformers.TrainingArguments, and what may stand under `trainer:`."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import TrainerCallback, TrainingArguments

from fspo.errors import FspoError

_BATCHES = "batch_size and micro_batch_size"
# What the recipe itself says, by its own name for it.
_SAID = {
    "output_dir": "out",
    "per_device_train_batch_size": _BATCHES,
    "gradient_accumulation_steps": _BATCHES,
    "num_train_epochs": "episodes",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "scheduler",
    "warmup_steps": "warmup_steps",
    "optim": "optimizer",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "logging_steps": "log_every",
    "save_steps": "save_every",
    "seed": "seed",
    "remove_unused_columns": "nothing: episodes have no columns",
}
# What cannot be turned on here, and why.
_OFF = {
    "auto_find_batch_size": "steps would be of other episodes than batch_size says",
    "eval_on_start": "nothing is evaluated while a policy is trained; see fspo evaluate",
    "ignore_data_skip": "a run that is gone on with would learn from the same episodes again",
    "label_smoothing_factor": "the objectives have no labels",
    "load_best_model_at_end": "nothing is evaluated while a policy is trained; see fspo evaluate",
    "neftune_noise_alpha": "policy and reference have to read the same embeddings",
    "push_to_hub": "a policy's folder is yours to upload when it is done",
    "resume_from_checkpoint": "--resume goes on from the last whole checkpoint",
    "save_only_model": "no run could go on from such a checkpoint",
}


def training_arguments(recipe: Any, out: Path) -> TrainingArguments:
    """The recipe's transformers.TrainingArguments.

    Raises:
        FspoError: if they do not take a setting.
    """
    # With a number of tokens for each pass, the trainer is given a step's episodes as a whole.
    at_once = recipe.batch_size if recipe.micro_batch_tokens else recipe.micro_batch_size
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": max(1, recipe.batch_size // at_once),
        "num_train_epochs": 1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": recipe.warmup_steps,
        "optim": recipe.optimizer,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "logging_steps": recipe.log_every,
        "save_steps": recipe.save_every,
        "save_total_limit": 2,
        "seed": recipe.seed,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,  # there are none, and looking for them takes time
        "use_cpu": not torch.cuda.is_available(),
    }
    with settings_taken(recipe):
        return TrainingArguments(**(settings | _checked(recipe.trainer)))


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under `trainer:`, each of its kind.

    Raises:
        FspoError: naming the first that is refused, or is of another kind.
    """
    kinds = typing.get_type_hints(TrainingArguments)
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    taken = {}
    for key, value in given.items():
        if key in _SAID:
            raise _not_taken(f"trainer.{key}: the recipe says it by {_SAID[key]}; leave it out")
        try:
            taken[key] = _kind(kinds[key]).validate_python(value) if key in kinds else value
        except ValidationError as error:
            fault = error.errors()[0]["msg"]
            raise _not_taken(
                f"trainer.{key}: {fault[0].lower()}{fault[1:]} (it is {value!r})"
            ) from error
        if key in _OFF and taken[key] not in (defaults[key], False):
            raise _not_taken(f"trainer.{key}: {_OFF[key]}; leave it out")
    return taken


def _kind(annotation: Any) -> TypeAdapter[Any]:
    config = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)
    return TypeAdapter(annotation, config=config)


class FirstStep(TrainerCallback):  # type: ignore[misc]
    """Knows whether the first step of a run has begun, and whether it has ended."""

    begun = ended = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """All settings have been taken by now, but for those of the step itself."""
        self.begun = True

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """From now on settings are at fault no more."""
        self.ended = True


@contextmanager
def settings_taken(recipe: Any, first: FirstStep | None = None) -> Iterator[None]:
    """Inside, what transformers makes of a setting that it cannot take is a user's fault.

    Args:
        recipe: whose settings.
        first: tells of the first step, where training is inside: what comes later is no setting's.
    """
    try:
        yield
    except (FspoError, MemoryError, torch.OutOfMemoryError, torch.distributed.DistError):
        raise
    except Exception as error:
        if first and isinstance(error, OSError):  # of what is written
            raise
        first = first or FirstStep()
        told = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ImportError) or (
            isinstance(error, RuntimeError) and "to be installed" in told
        ):
            raise FspoError(f"the recipe's training settings need a package: {told}") from error
        surely = isinstance(error, (TypeError, ValueError)) and not first.begun
        if first.ended or not (surely or recipe.trainer):
            raise
        under = f" (under trainer: {', '.join(map(str, recipe.trainer))})" if recipe.trainer else ""
        raise _not_taken(f"{told}{under}") from error


def _not_taken(told: str) -> FspoError:
    return FspoError(f"the recipe's training settings are not taken: {told}")
