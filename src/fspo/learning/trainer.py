"""Trains a policy on episodes, on transformers.Trainer: checkpoints, resume, precision, schedules,
logging backends and multi-process launch are its own. Ours is the loss, and what is logged.

    fspo train --data reviews --out runs/reviews
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.batch import passes
from fspo.learning.lora import fuse_adapters
from fspo.learning.losses import TreeLoss
from fspo.learning.policy import reference_weights, shared_with_reference
from fspo.learning.resumable import ResumableTrainer
from fspo.learning.scoring import causal_model, response_logps
from fspo.learning.tree import EpisodeTree
from fspo.learning.weights import load_weights, save_weights


class TreeModel(nn.Module):
    """Policy and reference as one module that takes trees, so that a launcher can wrap it.

    Whoever shards its weights (FSDP2) puts them together for a pass through `forward`, and for no
    other: so the reference, which is in the same weights, goes through it, too.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        fuse_adapters(model)
        self.model = model
        self.config = model.config

    def forward(self, trees: Sequence[EpisodeTree], reference: bool = False) -> list[Tensor]:
        """Each tree's response log-probs by the policy, or by the reference in its weights."""
        with reference_weights(self.model) if reference else nullcontext():
            # Not views of one tensor: FSDP2 hooks itself onto what is returned.
            return [logps.clone() for logps in response_logps(self.model, trees)]

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Keeps no activations inside layers, as `trainer: {activation_checkpointing: true}` asks.

        They are computed again in the backward pass: more time, and a fraction of the memory.
        """
        causal_model(self.model).activation_checkpointing_enable(**settings)


class FspoTrainer(ResumableTrainer):
    """Trainer with a preference objective over the targets of each tree.

    Every target of an optimizer step weighs the same, whichever tree, micro-batch or process it is
    in: losses are summed, and divided by the number of targets of the whole step.
    """

    loss_is_scaled_for_ga = True  # what Trainer need not do, then

    def __init__(
        self,
        model: TreeModel,
        *,
        loss: TreeLoss,
        frozen: nn.Module | None = None,
        tokens_at_once: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes what Trainer does not take by itself.

        Args:
            model: what learns.
            loss: of each tree's targets.
            frozen: the reference, where it is not in the weights of what learns.
            tokens_at_once: of a forward pass, instead of a whole batch in one.
            kwargs: Trainer's.

        Raises:
            FspoError: if DeepSpeed is to count steps whose passes are cut by tokens.
        """
        super().__init__(model=model, **kwargs)
        if tokens_at_once and self.is_deepspeed_enabled:
            raise FspoError(
                "micro_batch_tokens: DeepSpeed takes every forward pass for a part of a step of "
                "its own counting; give micro_batch_size instead"
            )
        self._loss, self._frozen, self._tokens_at_once = loss, frozen, tokens_at_once
        self._seen: dict[str, list[float]] = defaultdict(list)
        self._tokens = 0
        self._since = time.monotonic()

    def training_step(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Gradients of a batch, one pass after the other; the sum of their losses."""
        groups = [inputs["trees"]]
        if self._tokens_at_once:
            groups = passes(inputs["trees"], self._tokens_at_once)
        total = 0.0
        for trees in groups:
            # Processes may differ in their number of passes: they meet in the last one alone.
            last = trees is groups[-1]
            with nullcontext() if last else self.accelerator.no_sync(model):
                total += super().training_step(model, {"trees": trees}, num_items_in_batch)
        return total

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The loss of the trees' targets: their share of the mean over the whole step's.

        Processes' gradients are averaged after this, so that each one's share counts as many times
        as there are processes. Without `num_items_in_batch`, the mean over these trees' targets.
        """
        trees: Sequence[EpisodeTree] = inputs["trees"]
        before, now = self._both(model, trees)
        found = [self._loss(*each) for each in zip(trees, now, before, strict=True)]
        losses, margins = [loss for loss, _ in found], [margin for _, margin in found]
        self._note(trees, margins)
        every = torch.cat(losses)
        counted = num_items_in_batch or len(every)
        processes = self.accelerator.num_processes if num_items_in_batch else 1
        loss = every.sum() * processes / counted
        if not torch.isfinite(loss):
            raise FspoError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()} on "
                f"{_culprits(trees, losses)}; the last checkpoint is good. "
                "Look at what stands there, or take a lower learning_rate or a larger beta."
            )
        return (loss, {}) if return_outputs else loss

    def _both(
        self, model: nn.Module, trees: Sequence[EpisodeTree]
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor]]:
        """Each tree's response log-probs by the reference, where it is needed, and the policy."""
        if not self._loss.needs_reference:
            return [None] * len(trees), model(trees)
        known = [tree.reference for tree in trees if tree.reference is not None]
        if len(known) == len(trees):
            device = self.args.device
            return [torch.from_numpy(logps).to(device) for logps in known], model(trees)
        weights = self.accelerator.unwrap_model(model).model
        with shared_with_reference(weights, self._frozen):
            # Around the whole module: DDP would get ready for a backward pass otherwise.
            with torch.no_grad():
                before = (
                    model(trees, reference=True)
                    if self._frozen is None
                    else response_logps(self._frozen, trees)
                )
            return before, model(trees)

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Any]], device: torch.device
    ) -> Tensor:
        """Returns how many targets an optimizer step has, on all processes together."""
        own = sum(len(tree.responses) // 2 for batch in batch_samples for tree in batch["trees"])
        counts: Tensor = self.accelerator.gather(torch.tensor([own], device=device))
        return counts.sum()

    def _note(self, trees: Sequence[EpisodeTree], margins: Sequence[Tensor]) -> None:
        for tree, h in zip(trees, margins, strict=True):
            self._tokens += len(tree)
            self._seen["dropped_shots"].append(tree.dropped)
            if tree.likely:  # to prefer the likelier response is right
                h = h * (2 * torch.tensor(tree.likely, device=h.device) - 1).sign()
            for value in h.tolist():
                self._seen["margin"].append(value)
                self._seen["accuracy"].append(value > 0)
            # A chain's targets have 0, 1, 2, ... shots before them.
            labels = tree.labels or [f"{shots}_shots" for shots in range(len(h))]
            if len(h) > 1:
                for label, value in zip(labels, h.tolist(), strict=True):
                    self._seen[f"accuracy_{label}"].append(value > 0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was seen since the last line: margin, accuracy by shots, tokens a second."""
        if "loss" in logs and self._seen:
            logs |= {name: sum(values) / len(values) for name, values in self._seen.items()}
            logs["dropped_shots"] = sum(self._seen["dropped_shots"])
            logs["tokens_per_second"] = self._tokens / (time.monotonic() - self._since)
            self._seen.clear()
            self._tokens = 0
            self._since = time.monotonic()
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Sharded weights come gathered, by the names that this module has for them.
        if self.args.should_save:
            whole = {name.removeprefix("model."): w for name, w in (state_dict or {}).items()}
            weights = self.accelerator.unwrap_model(self.model).model
            save_weights(weights, Path(str(output_dir)), whole or None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model.model, Path(resume_from_checkpoint))


def _culprits(trees: Sequence[EpisodeTree], losses: Sequence[Tensor]) -> str:
    """The rows whose losses are not finite, or whose episodes they are where that is not known."""
    rows = [
        row
        for tree, loss in zip(trees, losses, strict=True)
        for row, fine in zip(tree.rows, loss.isfinite().tolist(), strict=False)
        if row and not fine
    ]
    if rows:
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{', '.join(rows[:5])}{more}"
    return f"the episodes of {', '.join(repr(tree.user_id) for tree in trees)}"


class ProgressLog(TrainerCallback):  # type: ignore[misc]
    """Says where training is and how much time is left, at each line of the log."""

    def __init__(self, quiet_seconds: float = 10.0) -> None:
        self._begun = self._said = time.monotonic()
        self._first_step = 0
        self._quiet_seconds = quiet_seconds

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock, from wherever a resumed run stands."""
        self._begun, self._first_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One line, unless the last one has only just been said."""
        now = time.monotonic()
        if "loss" not in (logs or {}) or now - self._said < self._quiet_seconds:
            return
        self._said = now
        pace = (now - self._begun) / max(1, state.global_step - self._first_step)
        say(
            f"training: step {state.global_step} of {state.max_steps}, loss {logs['loss']:.4g}, "
            f"accuracy {logs['accuracy']:.2f}, "
            f"about {pace * (state.max_steps - state.global_step):.0f} s left"
        )
