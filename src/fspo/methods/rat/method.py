"""RAT: describes the user from the shots, then answers by shots and description.

The description can be read, edited and passed back: a task that has one is answered by that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.learning.policy import REFERENCE, load_policy, reference_weights
from fspo.learning.tree import context_tokens
from fspo.llm.sampling import Sampling
from fspo.methods.generation import complete
from fspo.methods.method import Floats, Task
from fspo.methods.rat.trees import answer_context, described_probes, description_context
from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from fspo.learning.policy import Policy
    from fspo.learning.tree_builder import Tokens
    from fspo.llm.embedding import Embedder

_AT_ONCE = 12  # descriptions; each takes the memory of its shots


class Rat:
    """A policy that was trained by `method: rat`."""

    tasks_at_once = 4

    def __init__(self, name: str, policy: Policy, sampling: Sampling) -> None:
        self.name = name
        self._policy, self._sampling = policy, sampling
        self._max_tokens = int(policy.settings["rat"]["max_tokens"])

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind the shots and the description."""
        contexts = [
            [self._context(task, told, prompt) for prompt in task.prompts]
            for task, told in zip(tasks, self.describe(tasks), strict=True)
        ]
        return complete(
            self._policy.model,
            self._policy.tokenizer,
            contexts,
            replace(self._sampling, seed=seed),
        )

    def _context(self, task: Task, told: str, prompt: str) -> Tokens:
        tokenizer, room = self._policy.tokenizer, self._sampling.max_tokens
        if told:
            return answer_context(task.shots, told, prompt, tokenizer, room)
        return context_tokens(task.user.user_id, task.shots, prompt, tokenizer, room=room)[0]

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Each task's own description, or else the likeliest one of its user.

        Without shots nothing is known of a user: the description is empty, and answers go without.
        """
        unknown = [task for task in tasks if task.shots and not task.description]
        written = iter(self._written([task.shots for task in unknown]))
        return [task.description or (next(written) if task.shots else "") for task in tasks]

    def describe_before(self, tasks: Sequence[Task]) -> list[str] | None:
        """The same by the reference: what was written before descriptions were compared.

        None where the reference is the bare model (`reference: model`), which never learned to.
        """
        if REFERENCE not in self._policy.model.peft_config:
            return None
        with reference_weights(self._policy.model):
            return self.describe(tasks)

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
        description: str = "",
    ) -> Floats:
        """The implicit reward of the chosen response less the other's, behind a description.

        The description is written anew after each number of shots, unless a person gives one;
        without shots there is no other.
        """
        from fspo.learning.probes import probe_gaps

        policy = self._policy
        if description:
            told = [description] * len(counts)
        else:
            written = iter(self._written([shots[:count] for count in counts if count]))
            told = [next(written) if count else "" for count in counts]
        trees = described_probes(user.user_id, shots, targets, counts, policy.tokenizer, told)
        margins = [policy.margins([tree])[0] for tree in trees]
        return policy.beta * probe_gaps(margins, len(counts))

    def _written(self, shots: Sequence[Sequence[Preference]]) -> list[str]:
        parts = (shots[k : k + _AT_ONCE] for k in range(0, len(shots), _AT_ONCE))
        return [
            text
            for part in parts
            for text in write_descriptions(self._policy, part, self._max_tokens)
        ]


def write_descriptions(
    policy: Policy,
    shots: Sequence[Sequence[Preference]],
    max_tokens: int,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Descriptions of users from their shots, `samples` of each, one after the other.

    Args:
        policy: a policy that learned to describe.
        shots: of each user, at least one.
        max_tokens: the longest description.
        samples: of each user.
        temperature: 0 writes the likeliest.
        seed: of the sampling.

    Returns:
        What was written, (users * samples,); "somebody" where it was nothing.
    """
    if not shots:
        return []
    contexts = [[description_context(own, policy.tokenizer, max_tokens)] * samples for own in shots]
    written: list[list[str]] = complete(
        policy.model,
        policy.tokenizer,
        contexts,
        Sampling(max_tokens, temperature, top_p=1.0, seed=seed),
    )
    return [text or "somebody" for own in written for text in own]


def description_similarity(
    written: Mapping[str, str], true: Mapping[str, str], embed: Embedder
) -> dict[str, Any]:
    """Returns how near descriptions come to the true ones: the cosine of sentence embeddings.

    Args:
        written: user -> description.
        true: the same users' true descriptions.
        embed: gives vectors of length 1.

    Returns:
        `mean`, `by_user`, and `chance`: the mean over the other users' true descriptions, which a
        description that tells nothing of its user would reach; nan for a single user.
    """
    users = sorted(written)
    cosines = embed([written[u] for u in users]) @ embed([true[u] for u in users]).T
    own = np.diag(cosines)
    others = (cosines.sum() - own.sum()) / max(1, len(users) * (len(users) - 1))
    return {
        "mean": round(float(own.mean()), 4),
        "chance": round(float(others), 4) if len(users) > 1 else float("nan"),
        "by_user": {user: round(float(c), 4) for user, c in zip(users, own, strict=True)},
    }


def load(name: str, folder: Path, sampling: Sampling) -> Rat:
    """Loads a policy that describes users."""
    return Rat(name, load_policy(folder), sampling)
