"""A trained policy as a program uses it: it ranks, rewards, answers and describes for any user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fspo.errors import FspoError
from fspo.methods.method import Describer, Method, Task
from fspo.methods.untrained.best_of import score_of
from fspo.preferences.records import Preference, User
from fspo.preferences.tables import check_whole

_USER = User("user")  # methods that are trained look at nothing of a user but the shots


@dataclass(frozen=True)
class Ranked:
    """One of the answers that were ranked.

    Attributes:
        answer: the text.
        index: its place among the answers that were given.
        reward: the user's, in nats; only differences mean something.
        probability: that it is the user's favorite: the softmax of the rewards (Plackett-Luce).
    """

    answer: str
    index: int
    reward: float
    probability: float


class PersonalPolicy:
    """A policy that `fspo train` wrote, ready to serve any user; `load_policy` loads it.

    A user is given by shots: a few preferences of that user, the latest last.

    Attributes:
        name: what it was trained to be, such as "FSPO".
        shots: how many shots it was trained to read; of more, the last ones are read.
    """

    def __init__(self, method: Method, shots: int) -> None:
        self.name, self.shots = method.name, shots
        self._method, self._score = method, score_of(method)

    def reward(
        self, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        """Returns the user's implicit reward of each answer, in nats.

        `beta (log pi(y | shots, x) - log pi_ref(y | shots, x))`: Rafailov et al., arXiv 2305.18290,
        section 4, with the user's shots in the context. Only differences mean something.

        Args:
            shots: the user's preferences; none asks what users at large prefer.
            prompt: what was asked.
            answers: one or more.

        Raises:
            FspoError: if a text is empty or does not fit the context, or a reward is not finite.
        """
        check_whole(prompt, "prompt:")
        for number, answer in enumerate(answers, 1):
            check_whole(answer, f"answer {number}:")
            if not answer.strip():
                raise FspoError(f"answer {number} is empty")
        if not answers:
            return []
        return list(self._score(_USER, self._read(shots), prompt, answers))

    def rank(
        self, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[Ranked]:
        """Returns the answers in the order in which the user would like them, the best first.

        Arguments and faults are those of `reward`.
        """
        rewards = np.array(self.reward(shots, prompt, answers))
        weights = np.exp(rewards - rewards.max(initial=-np.inf))
        probabilities = weights / weights.sum()
        return [
            Ranked(answers[index], int(index), float(rewards[index]), float(probabilities[index]))
            for index in np.argsort(-rewards, kind="stable")
        ]

    def answer(
        self, shots: Sequence[Preference], prompt: str, description: str = "", seed: int = 0
    ) -> str:
        """Writes an answer to the prompt, as the user likes to be answered.

        Args:
            shots: the user's preferences; none asks for an answer for anybody.
            prompt: what is asked.
            description: of the user, for a policy that describes (RAT); by default its own.
            seed: what the sampling depends on.

        Raises:
            FspoError: if shots, prompt and answer do not fit the context.
        """
        check_whole(prompt, "prompt:")
        task = Task(_USER, self._read(shots), [prompt], description)
        [[written]] = self._method.answer([task], seed)
        return written

    def describe(self, shots: Sequence[Preference]) -> str:
        """Returns what the policy writes of who the user is, from the shots; "" without any.

        Raises:
            FspoError: if it was not trained to describe users.
        """
        if not isinstance(self._method, Describer):
            raise FspoError(
                f"{self.name}: it was not trained to describe users; train one with `method: rat`"
            )
        [description] = self._method.describe([Task(_USER, self._read(shots), [])])
        return description

    def _read(self, shots: Sequence[Preference]) -> Sequence[Preference]:
        return shots[max(0, len(shots) - self.shots) :]


def load_policy(
    folder: str | Path,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.7,
    top_p: float = 0.95,
) -> PersonalPolicy:
    """Loads a policy that `fspo train` wrote, or the bundled one, "fspo-reviews".

    Args:
        folder: where it is.
        max_new_tokens: where an answer is cut off.
        temperature: of the sampling of answers; 0 takes the likeliest token.
        top_p: the share of probability that is sampled from.

    Raises:
        FspoError: if the folder holds no policy, or one that cannot be loaded.
    """
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.methods.build import trained
    from fspo.methods.table import load
    from fspo.recipe import read_recipe

    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    sampling = read_recipe(EvaluateRecipe, None, given).sampling
    [policy] = trained([str(folder)])
    return PersonalPolicy(load(*policy, sampling), int(policy.settings.get("shots", 8)))
