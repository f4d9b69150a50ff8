"""Models that read the shots, byte for byte as in training: FSPO, and the prompted baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.methods.method import Floats, Task
from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.learning.policy import Policy
    from fspo.llm.local import LocalModel
    from fspo.llm.sampling import Sampling


class Prompted:
    """The model as it comes, shown the user's shots."""

    name = "few-shot prompted"
    tasks_at_once = 4  # each takes the memory of its prefix once for every prompt

    def __init__(self, llm: LocalModel, template: str, sampling: Sampling) -> None:
        self._llm, self._template, self._sampling = llm, template, sampling

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind that user's shots."""
        llm, sampling = self._llm, replace(self._sampling, seed=seed)
        return _complete(llm.model, llm.tokenizer, self._template, tasks, sampling)

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Returns by how much the shots make the chosen response likelier than no shots do.

        `log p(y | shots, x) - log p(y | x)`, in nats, chosen less rejected.
        """
        import torch

        from fspo.learning.probes import probe_gaps, probe_trees
        from fspo.learning.scoring import response_logps

        llm, asked = self._llm, sorted({0, *counts})
        trees = probe_trees(user.user_id, shots, targets, asked, llm.tokenizer, self._template)
        with torch.inference_mode():
            logps = [response_logps(llm.model, [tree])[0] for tree in trees]
        gaps = probe_gaps(logps, len(asked))
        personal: Floats = gaps[[asked.index(count) for count in counts]] - gaps[0]
        return personal


class InContext:
    """A policy as it was trained: FSPO and Pref-FT read the shots; without users, it reads none."""

    tasks_at_once = 4

    def __init__(self, name: str, policy: Policy, sampling: Sampling) -> None:
        self.name = name
        self._policy, self._sampling = policy, sampling
        self._blind = policy.settings.get("shots") == 0

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind that user's shots."""
        p = self._policy
        if self._blind:
            tasks = [replace(task, shots=()) for task in tasks]
        sampling = replace(self._sampling, seed=seed)
        return _complete(p.model, p.tokenizer, p.template, tasks, sampling)

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """The implicit reward of the chosen response less that of the rejected one."""
        from fspo.learning.probes import probe_gaps, probe_trees

        policy = self._policy
        if self._blind and any(counts):
            return np.tile(self.log_odds(user, (), targets, [0]), (len(counts), 1))
        trees = probe_trees(user.user_id, shots, targets, counts, policy.tokenizer, policy.template)
        margins = [policy.margins([tree])[0] for tree in trees]
        return policy.beta * probe_gaps(margins, len(counts))

    def score(
        self, user: User, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        """The user's implicit reward of each answer, all of them on one tree."""
        read = () if self._blind else shots
        return self._policy.rewards(user.user_id, read, prompt, answers)


def _complete(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    tasks: Sequence[Task],
    sampling: Sampling,
) -> list[list[str]]:
    from fspo.learning.tree import context_tokens
    from fspo.methods.generation import complete

    room = sampling.max_tokens
    contexts = [
        [
            context_tokens(task.user.user_id, task.shots, prompt, tokenizer, template, room=room)[0]
            for prompt in task.prompts
        ]
        for task in tasks
    ]
    return complete(model, tokenizer, contexts, sampling)


def load(name: str, folder: Path, sampling: Sampling) -> InContext:
    """Loads a policy that is evaluated as it was trained."""
    from fspo.learning.policy import load_policy

    return InContext(name, load_policy(folder), sampling)
