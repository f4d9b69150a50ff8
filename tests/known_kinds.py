"""A predictor that can be checked by hand: users of a few known kinds, and Bayes' rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fspo import Preference, User
from fspo.methods.method import Floats


class Kinds:
    """Users of a few known kinds: what it predicts is the mixture, after Bayes' rule on the shots.

    `likes[prompt]` says for each kind how probable it is that "yes" is preferred to "no".
    """

    name = "kinds"

    def __init__(self, likes: Mapping[str, Sequence[float]], prior: Sequence[float]) -> None:
        self.likes, self.prior, self.calls = likes, np.array(prior), 0

    def chance(self, pair: Preference) -> Floats:
        yes = np.array(self.likes[pair.prompt])
        return yes if pair.chosen == "yes" else 1 - yes

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        self.calls += 1
        rows = []
        for count in counts:
            weights = self.prior * np.prod([self.chance(s) for s in shots[:count]] or [1], axis=0)
            weights = weights / weights.sum()
            p = np.array([weights @ self.chance(target) for target in targets])
            rows.append(np.log(p / (1 - p)))
        return np.array(rows)


def yes(prompt: str) -> Preference:
    return Preference(prompt, "yes", "no")


def no(prompt: str) -> Preference:
    return Preference(prompt, "no", "yes")
