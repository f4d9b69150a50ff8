"""The ways to answer a user.

A method has a name, and answers tasks: a user, that user's shots, and prompts. Which of these it
looks at is what makes it the method it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from fspo.learning.growing import Tokens
    from fspo.learning.policy import Policy
    from fspo.llm.local import LocalModel
    from fspo.recipe import EvaluateRecipe


@dataclass(frozen=True)
class Task:
    """What is asked on behalf of one user, whose shots were seen before."""

    user: User
    shots: Sequence[Preference]
    prompts: Sequence[str]


class Method(Protocol):
    """One way to answer users.

    Attributes:
        name: what reports call it.
        tasks_at_once: how many tasks it answers best in one call.
    """

    name: str
    tasks_at_once: int

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Writes, for each task, one answer to each prompt."""


class Base:
    """The model as it comes: it sees the prompt, and nothing of the user."""

    name = "base"
    tasks_at_once = 10_000

    def __init__(self, llm: LocalModel, settings: EvaluateRecipe) -> None:
        self._llm, self._settings = llm, settings

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each different prompt once, whoever asks."""
        prompts = sorted({prompt for task in tasks for prompt in task.prompts})
        conversations = [[_said_by("user", prompt)] for prompt in prompts]
        answers = _chat(self._llm, conversations, self._settings, seed)
        answer_to = dict(zip(prompts, answers, strict=True))
        return [[answer_to[prompt] for prompt in task.prompts] for task in tasks]


class Oracle:
    """The model as it comes, told the user's true description: what no other method may see."""

    name = "oracle"
    tasks_at_once = 8

    def __init__(self, llm: LocalModel, settings: EvaluateRecipe) -> None:
        self._llm, self._settings = llm, settings

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers with the user's description as the system's instruction."""
        conversations = [
            [_said_by("system", task.user.description), _said_by("user", prompt)]
            for task in tasks
            for prompt in task.prompts
        ]
        answers = iter(_chat(self._llm, conversations, self._settings, seed))
        return [[next(answers) for _ in task.prompts] for task in tasks]


class InContext:
    """A model that reads the shots, written byte for byte as in training.

    With the trained adapter this is FSPO; with the adapter off, the few-shot prompted baseline.
    """

    tasks_at_once = 4  # each takes the memory of its prefix once for every prompt

    def __init__(self, name: str, policy: Policy, trained: bool, settings: EvaluateRecipe) -> None:
        self.name = name
        self._policy, self._trained, self._settings = policy, trained, settings

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind that user's shots."""
        policy = self._policy
        if self._trained:
            return self._complete(policy.model, tasks, seed)
        if policy.frozen is not None:
            return self._complete(policy.frozen, tasks, seed)
        with policy.model.disable_adapter():
            return self._complete(policy.model, tasks, seed)

    def _complete(self, model: Any, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        from fspo.methods.generation import complete

        settings = self._settings
        return complete(
            model,
            self._policy.tokenizer,
            [self._contexts(task) for task in tasks],
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=seed,
        )

    def _contexts(self, task: Task) -> list[Tokens]:
        from fspo.learning.tree import context_tokens

        return [
            context_tokens(
                task.user.user_id,
                task.shots,
                prompt,
                self._policy.tokenizer,
                self._policy.template,
                room=self._settings.max_new_tokens,
            )[0]
            for prompt in task.prompts
        ]


def _said_by(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _chat(llm: LocalModel, conversations: Any, settings: EvaluateRecipe, seed: int) -> list[str]:
    return llm.chat(
        conversations,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=seed,
    )
