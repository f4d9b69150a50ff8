"""A trainer whose runs can be gone on with: whole checkpoints, of weights that are finite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import SequentialSampler
from transformers import Trainer

from fspo.errors import FspoError, first_line
from fspo.known_faults import is_full, is_too_large
from fspo.learning.checkpoints import CHECKPOINTS, numbered, seal


class ResumableTrainer(Trainer):  # type: ignore[misc]
    """Trainer that keeps checkpoints in a folder of their own, and none that cannot be trusted."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Trainer goes by times and takes any name for a checkpoint's: old ones are cleared here.
        self._kept, self.args.save_total_limit = self.args.save_total_limit, None

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / CHECKPOINTS)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The dataset is in random order already, by its own seed.
        return SequentialSampler(self.train_dataset)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.check_weights()
        folder = Path(self._get_output_dir(trial))
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        with faults_of_writing_named(checkpoint):
            if self.args.should_save:
                shutil.rmtree(checkpoint, ignore_errors=True)  # one that was passed over
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(checkpoint, self.args.world_size)
                self._clear(folder)

    def _clear(self, folder: Path) -> None:
        """Removes checkpoints that are too old, or of a later step, which were passed over."""
        every = numbered(folder)
        older = [step for step in every if step <= self.state.global_step]
        later = [step for step in every if step > self.state.global_step]
        too_old = older[: -self._kept] if self._kept and self._kept > 0 else []
        for step in [*later, *too_old]:
            shutil.rmtree(every[step], ignore_errors=True)

    def check_weights(self) -> None:
        """Makes sure that what learns is finite.

        Raises:
            FspoError: if it is not, in all processes.
        """
        sound = all(
            bool(getattr(weight, "_local_tensor", weight).isfinite().all())
            for weight in self.model.parameters()
            if weight.requires_grad
        )
        everywhere = self.accelerator.gather(torch.tensor([sound], device=self.args.device))
        if not everywhere.all():
            raise FspoError(
                f"step {self.state.global_step}: the weights are not finite any more. "
                "Take a lower learning_rate, or a larger beta, and another --out."
            )

    def check_result(self) -> None:
        """Makes sure that what was learned tells something: weights, and a loss, that are finite.

        Raises:
            FspoError: if it does not.
        """
        self.check_weights()
        inputs = self._prepare_inputs(self.data_collator([self.train_dataset[0]]))
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                self.compute_loss(self.model_wrapped, inputs)
        except FspoError as error:
            raise FspoError(
                f"step {self.state.global_step}, the last: the loss is not finite any more, so no "
                "policy was written. Take a lower learning_rate, or a larger beta, and another "
                "--out."
            ) from error


@contextmanager
def faults_of_writing_named(folder: Path) -> Iterator[None]:
    """Inside, what keeps files from being written is a user's fault, whichever library says so."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        full = is_full(error)
        if isinstance(error, RuntimeError) and not full:
            raise
        told = getattr(error, "strerror", "") or first_line(error)
        if full:
            told = "it is larger than a file may be" if is_too_large(error) else "the disk is full"
        raise FspoError(
            f"{folder}: cannot be written: {told}. What was trained before the last whole "
            "checkpoint is not lost: make room, and run again with --resume."
        ) from error
