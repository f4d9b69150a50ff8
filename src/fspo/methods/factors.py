"""Collaborative filtering as a predictor: it knows who chose what, and reads not a word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo.preferences.factors import ResponseFactors
from fspo.preferences.logistic import Floats
from fspo.preferences.records import Preference, Preferences, User


class Factors:
    """What a bias and a few factors of each response foretell; without shots, the biases alone."""

    name = "factors"

    def __init__(
        self,
        training: Preferences,
        generator: np.random.Generator,
        factors: int = 1,
        l2: float = 1.0,
    ) -> None:
        """As `ResponseFactors`, which is fitted here."""
        self._fitted = ResponseFactors(training, generator, factors, l2)

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); `user` is not looked at."""
        return self._fitted.log_odds(self._fitted.of_user(shots), targets)
