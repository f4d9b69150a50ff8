"""Variational preference learning: a reward model that sums a user up in a latent vector."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.methods.method import Floats, Task
from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from fspo.llm.sampling import Sampling
    from fspo.methods.vpl.latent import VplModel


class Vpl:
    """A latent reward, and the best of a few answers of the model as it comes.

    VPL is a reward model and writes nothing itself; its paper goes on to train policies on the
    reward. Here the model as it comes writes some answers to each prompt (`vpl.samples` in the
    recipe), and each user gets the one whose reward is highest.
    """

    tasks_at_once = 10_000  # users share the answers that are chosen from

    def __init__(self, name: str, model: VplModel, sampling: Sampling) -> None:
        self.name = name
        self._model, self._sampling = model, sampling

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Samples answers to each different prompt, and picks each user's best."""
        import torch

        prompts = sorted({prompt for task in tasks for prompt in task.prompts})
        sampled = dict(zip(prompts, self._sample(prompts, seed), strict=True))
        reward = self._model.reward
        with torch.inference_mode():
            states = {prompt: self._model.read("", prompt, sampled[prompt]) for prompt in prompts}
            users = [self._mean(task.user, task.shots) for task in tasks]
            return [
                [
                    sampled[prompt][int(reward.rewards(states[prompt], z).argmax())]
                    for prompt in task.prompts
                ]
                for task, z in zip(tasks, users, strict=True)
            ]

    def score(
        self, user: User, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        """The reward of each answer to a user with such shots.

        Differences between answers to one prompt are log-odds, in nats; nothing else means
        something.
        """
        import torch

        with torch.inference_mode():
            states = self._model.read(user.user_id, prompt, answers)
            rewards = self._model.reward.rewards(states, self._mean(user, shots))
        return [float(reward) for reward in rewards]

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """The reward of the chosen response less that of the rejected one, at the mean of z."""
        import torch

        reward = self._model.reward
        with torch.inference_mode():
            shown = self._model.read_pairs(user.user_id, shots)
            asked = self._model.read_pairs(user.user_id, targets)
            pairs = [
                reward.rewards(asked, reward.posterior(shown[:count]).mean) for count in counts
            ]
        rewards = np.array([pair.tolist() for pair in pairs])  # (counts, targets, 2)
        gaps: Floats = rewards[..., 0] - rewards[..., 1]
        return gaps

    def _mean(self, user: User, shots: Sequence[Preference]) -> Any:
        """The mean of q(z | shots), float (latent,); zero, which is the prior's, without shots."""
        return self._model.reward.posterior(self._model.read_pairs(user.user_id, shots)).mean

    def _sample(self, prompts: Sequence[str], seed: int) -> list[list[str]]:
        """Answers of the model as it comes, the same number to each prompt."""
        from fspo.llm.local import LocalModel

        model, count = self._model.model, self._model.settings.samples
        with model.disable_adapter() if hasattr(model, "peft_config") else nullcontext():
            answers = LocalModel(model, self._model.tokenizer).chat(
                [[{"role": "user", "content": prompt}] for prompt in prompts for _ in range(count)],
                max_new_tokens=self._sampling.max_tokens,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                seed=seed,
            )
        return [answers[start : start + count] for start in range(0, len(answers), count)]


def load(name: str, folder: Path, sampling: Sampling) -> Vpl:
    """Loads a latent reward with the model that it reads answers with."""
    from fspo.methods.vpl.latent import load_vpl

    return Vpl(name, load_vpl(folder), sampling)
