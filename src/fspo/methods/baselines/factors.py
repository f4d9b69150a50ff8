"""Collaborative filtering as a predictor: it knows who chose what, and reads not a word."""

from __future__ import annotations

from collections.abc import Sequence

from fspo.preferences.factors import ResponseFactors
from fspo.preferences.logistic import Floats
from fspo.preferences.records import Preference, User


class Factors:
    """A bias and a few factors of each response; without shots, the biases alone."""

    name = "factors"

    def __init__(self, fitted: ResponseFactors) -> None:
        self._fitted = fitted

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); `user` is not looked at."""
        return self._fitted.log_odds(self._fitted.of_user(shots), targets)
