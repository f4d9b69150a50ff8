"""The model as it comes, in its own chat format: base knows nothing of a user, the oracle all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.methods.method import Floats, Task
from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from fspo.llm.local import LocalModel
    from fspo.llm.sampling import Sampling


class Base:
    """The model as it comes: it sees the prompt, and nothing of the user."""

    name = "base"
    tasks_at_once = 10_000

    def __init__(self, llm: LocalModel, sampling: Sampling) -> None:
        self._llm, self._sampling = llm, sampling

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each different prompt once, whoever asks."""
        prompts = sorted({prompt for task in tasks for prompt in task.prompts})
        conversations = [[_said_by("user", prompt)] for prompt in prompts]
        answers = _chat(self._llm, conversations, self._sampling, seed)
        answer_to = dict(zip(prompts, answers, strict=True))
        return [[answer_to[prompt] for prompt in task.prompts] for task in tasks]

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Zero: it is what the others are compared with, and knows nobody."""
        return np.zeros((len(counts), len(targets)))


class Oracle:
    """The model as it comes, told the user's true description: what no other method may see."""

    name = "oracle"
    tasks_at_once = 8

    def __init__(self, llm: LocalModel, sampling: Sampling) -> None:
        self._llm, self._sampling = llm, sampling

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers with the user's description as the system's instruction."""
        conversations = [
            [_said_by("system", task.user.description), _said_by("user", prompt)]
            for task in tasks
            for prompt in task.prompts
        ]
        answers = iter(_chat(self._llm, conversations, self._sampling, seed))
        return [[next(answers) for _ in task.prompts] for task in tasks]

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Returns by how much the description makes the chosen response likelier, with any shots.

        `log p(y | x, description) - log p(y | x)`, in nats, chosen less rejected.
        """
        plain = [[_said_by("user", t.prompt)] for t in targets]
        described = [[_said_by("system", user.description), *turns] for turns in plain]
        gaps = self._gaps(described, targets) - self._gaps(plain, targets)
        return np.tile(gaps, (len(counts), 1))

    def _gaps(self, conversations: Any, targets: Sequence[Preference]) -> Floats:
        import torch

        from fspo.learning.scoring import response_logps
        from fspo.learning.tree import EpisodeTree

        trees = [
            EpisodeTree.from_context(
                self._llm.tokens(conversation),
                [t.chosen, t.rejected],
                self._llm.tokenizer,
                f"{t.row or 'preference'}: the user's description, prompt and response",
            )
            for conversation, t in zip(conversations, targets, strict=True)
        ]
        with torch.inference_mode():
            pairs = [response_logps(self._llm.model, [tree])[0].tolist() for tree in trees]
        return np.array([chosen - rejected for chosen, rejected in pairs])


def _said_by(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _chat(llm: LocalModel, conversations: Any, sampling: Sampling, seed: int) -> list[str]:
    return llm.chat(
        conversations,
        max_new_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=seed,
    )
