"""Best of n: several answers to each prompt are sampled, and the user's reward picks one.

Whoever writes and whoever picks need not be the same: the base model's answers can be picked by a
policy's implicit reward, or by any other method that tells what a user prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fspo.errors import FspoError
from fspo.methods.method import Floats, Method, Predictor, Task
from fspo.preferences.records import Preference, User

# A user's reward of each answer to a prompt, given the user's shots; only differences matter.
Score = Callable[[User, Sequence[Preference], str, Sequence[str]], Sequence[float]]


class BestOf:
    """A method whose answers are the best of several of another one's, for the user."""

    def __init__(
        self,
        writer: Method,
        n: int,
        predictor: Predictor | None = None,
        score: Score | None = None,
    ) -> None:
        """Takes who writes and who picks.

        Args:
            writer: samples the answers.
            n: how many for each prompt.
            predictor: tells what users prefer; by default the writer.
            score: what picks; by default as `score_of` the predictor.

        Raises:
            FspoError: if `n` is less than 1.
        """
        if n < 1:
            raise FspoError(f"best of {n}: it has to be the best of 1 or more answers")
        self.name = f"{writer.name}, best of {n}"
        # Not thousands, as base takes: what is answered in one call cannot be resumed inside it.
        self.tasks_at_once = min(writer.tasks_at_once, 8)
        self._writer, self._n = writer, n
        self._predictor = predictor or writer
        self._score = score or score_of(self._predictor)

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Samples n answers to each prompt, each by its own seed; of equals the first is taken."""
        draws = [self._writer.answer(tasks, draw_seed(seed, draw)) for draw in range(self._n)]
        return [
            [self._best(task, *candidates) for candidates in zip(task.prompts, *own, strict=True)]
            for task, *own in zip(tasks, *draws, strict=True)
        ]

    def _best(self, task: Task, prompt: str, *answers: str) -> str:
        different = list(dict.fromkeys(answers))
        if len(different) == 1:
            return different[0]
        scores = self._score(task.user, task.shots, prompt, different)
        return different[int(np.argmax(scores))]

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """The predictor's."""
        return self._predictor.log_odds(user, shots, targets, counts)


def draw_seed(seed: int, draw: int) -> int:
    """The seed of one draw: another one for each."""
    return int(np.random.SeedSequence([seed, draw]).generate_state(1, np.uint32)[0])


def score_of(predictor: Predictor) -> Score:
    """The predictor's own reward of answers, where it has one (`score`), or else its log-odds.

    It raises FspoError for a reward that is not finite.
    """
    own: Score = getattr(predictor, "score", None) or log_odds_over_first(predictor)

    def score(
        user: User, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        return all_finite(own(user, shots, prompt, answers))

    return score


def all_finite(rewards: Sequence[float]) -> list[float]:
    """The rewards of some answers, all of which are numbers that can be compared.

    Raises:
        FspoError: naming the first that is not, and what to do.
    """
    for number, reward in enumerate(rewards, 1):
        if not math.isfinite(reward):
            raise FspoError(
                f"the reward of answer {number} is {reward}: the policy is broken. Train it again, "
                "with a lower learning_rate or a larger beta."
            )
    return list(rewards)


def log_odds_over_first(predictor: Predictor) -> Score:
    """Scores answers by the log-odds, in nats, that the user prefers them to the first of them."""

    def score(
        user: User, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        pairs = [Preference(prompt, answer, answers[0]) for answer in answers[1:]]
        (odds,) = predictor.log_odds(user, shots, pairs, [len(shots)])
        return [0.0, *map(float, odds)]

    return score
