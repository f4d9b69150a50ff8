"""A LoRA adapter for each user, fine-tuned on that user's shots and nothing else.

The shots are training data here, and never in the context: each is a pair by itself. What is
learned for one user is undone, to the bit, before the next one comes.

Fine-tuning reads every shot `steps` times for every number of shots that is asked about: it is the
dearest of the methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fspo.errors import FspoError
from fspo.learning.losses import TreeLoss
from fspo.learning.policy import Policy, load_policy, reference_logps
from fspo.learning.scoring import response_logps
from fspo.learning.templates import CHAIN
from fspo.learning.tree import EpisodeTree
from fspo.methods.fspo.method import InContext
from fspo.methods.method import Floats, Task
from fspo.preferences.records import Episode, Preference, User

if TYPE_CHECKING:
    from torch import Tensor

    from fspo.llm.sampling import Sampling
    from fspo.methods.untrained import PersonalRecipe


class PersonalLora:
    """A policy that goes on learning from each user's shots, from the same start every time."""

    name = "LoRA per user"
    tasks_at_once = 1

    def __init__(self, start: Policy, recipe: PersonalRecipe, sampling: Sampling) -> None:
        """Takes the policy to start from, which without shots is the method itself.

        Args:
            start: with a LoRA adapter named "default"; its template, beta and reference stay.
            recipe: how the adapter is fine-tuned.
            sampling: how answers are sampled.
        """
        self._policy, self._recipe = start, recipe
        self._without_context = InContext(self.name, start, sampling)

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts, without shots in the context, by the user's own adapter."""
        answers = []
        for task in tasks:
            with self._fine_tuned(task.user, task.shots):
                answers += self._without_context.answer([replace(task, shots=())], seed)
        return answers

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """The implicit reward of chosen less rejected, by an adapter for each number of shots."""
        rows = []
        for count in counts:
            with self._fine_tuned(user, shots[:count]):
                rows.append(self._without_context.log_odds(user, (), targets, [0])[0])
        return np.stack(rows)

    @contextmanager
    def _fine_tuned(self, user: User, shots: Sequence[Preference]) -> Iterator[None]:
        """Inside, the adapter has learned from the shots; afterwards it is as it was before."""
        import torch

        self._policy.model.set_adapter("default")  # which makes its weights take gradients
        weights = [p for p in self._policy.model.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in weights]
        try:
            if shots:
                self._learn(user, shots, weights)
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, before, strict=True):
                    weight.copy_(value)
                    weight.grad = None

    def _learn(self, user: User, shots: Sequence[Preference], weights: Sequence[Tensor]) -> None:
        """Takes `steps` steps of Adam, each on all of the shots: nothing in it is random."""
        import torch

        policy, recipe = self._policy, self._recipe
        trees = [
            EpisodeTree.from_episode(
                Episode(user.user_id, [shot]), policy.tokenizer, policy.template
            )
            for shot in shots
        ]
        reference = reference_logps(policy.model, policy.frozen, trees)
        optimizer = torch.optim.Adam(weights, lr=recipe.learning_rate)
        loss_of = TreeLoss(recipe.objective, policy.beta, policy.settings.get("logps", "sum"))
        for step in range(1, recipe.steps + 1):
            logps = response_logps(policy.model, trees)
            losses = [loss_of(*own)[0] for own in zip(trees, logps, reference, strict=True)]
            loss = torch.cat(losses).mean()
            if not torch.isfinite(loss):
                raise FspoError(
                    f"{self.name}: user {user.user_id!r}: the loss is {loss.item()} at step "
                    f"{step}; take a lower learning_rate, or a larger beta."
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def load_personal(model: str, recipe: PersonalRecipe, sampling: Sampling) -> PersonalLora:
    """The method on the recipe's starting policy, or on a new adapter of `model`.

    Raises:
        FspoError: if one of them cannot be loaded, or the policy holds no adapter.
    """
    if recipe.start is None:
        return PersonalLora(_new_policy(model, recipe), recipe, sampling)
    if not (Path(recipe.start) / "adapter_config.json").is_file():
        raise FspoError(
            f"start: {recipe.start}: holds no LoRA adapter; give a policy that was trained with "
            "`lora`, or leave `start` out"
        )
    return PersonalLora(load_policy(recipe.start), recipe, sampling)


def _new_policy(name: str, recipe: PersonalRecipe) -> Policy:
    """A new adapter, which changes nothing yet, compared with the model as it comes."""
    from fspo.learning.adapters import new_adapter
    from fspo.models import load_model
    from fspo.recipe import TrainRecipe

    model, tokenizer = load_model(name)
    adapted = new_adapter(model, TrainRecipe(model=name, lora=recipe.lora, seed=recipe.seed))
    return Policy(adapted.eval(), tokenizer, CHAIN, recipe.beta, {"model": name})
