"""A recipe in the words of transformers.TrainingArguments, and what may stand under `trainer:`."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import TrainerCallback, TrainingArguments

from fspo.errors import FspoError

_BATCHES = "the recipe's batch_size and micro_batch_size say it"
# What a recipe does not leave to `trainer:`, and why.
_REFUSED = {
    "output_dir": "--out says it",
    "per_device_train_batch_size": _BATCHES,
    "gradient_accumulation_steps": _BATCHES,
    "auto_find_batch_size": _BATCHES,
    "num_train_epochs": "the recipe's episodes say it",
    "learning_rate": "the recipe's learning_rate says it",
    "lr_scheduler_type": "the recipe's scheduler says it",
    "warmup_steps": "the recipe's warmup_steps says it",
    "optim": "the recipe's optimizer says it",
    "weight_decay": "the recipe's weight_decay says it",
    "max_grad_norm": "the recipe's max_grad_norm says it",
    "logging_steps": "the recipe's log_every says it",
    "save_steps": "the recipe's save_every says it",
    "seed": "the recipe's seed says it",
    "resume_from_checkpoint": "--resume says it",
    "save_only_model": "no run could go on from such a checkpoint",
    "ignore_data_skip": "a run that goes on would learn from the same episodes again",
    "remove_unused_columns": "episodes have no columns",
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
    taken = {}
    for key, value in given.items():
        if key in _REFUSED:
            raise _not_taken(f"trainer.{key}: {_REFUSED[key]}; leave it out")
        try:
            taken[key] = _kind(kinds[key]).validate_python(value) if key in kinds else value
        except ValidationError as error:
            fault = error.errors()[0]["msg"]
            raise _not_taken(
                f"trainer.{key}: {fault[0].lower()}{fault[1:]} (it is {value!r})"
            ) from error
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
    first = first or FirstStep()
    try:
        yield
    except (FspoError, OSError, MemoryError, torch.OutOfMemoryError, torch.distributed.DistError):
        raise
    except Exception as error:
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
