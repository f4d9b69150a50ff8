"""What a language model has to beat at predicting preferences, by name, fitted when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Protocol

import numpy as np

from fspo.errors import FspoError
from fspo.methods.method import Floats, Predictor
from fspo.preferences.records import Preference, Preferences, User

NAMES = (
    "majority",
    "longer",
    "nearest neighbors",
    "logistic on the shots",
    "logistic, population and shots",
    "factors",
    "GPO",
)


class FromShots(Protocol):
    """A predictor that looks at a user's shots as a set, such as those of `simple.py`."""

    name: str

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,), in nats."""


class AtEachCount:
    """Such a predictor as a `Predictor`: asked anew after each number of shots."""

    def __init__(self, predictor: FromShots) -> None:
        self.name = predictor.name
        self._predictor = predictor

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Float64 (counts, targets), as `Predictor.log_odds`."""
        return np.stack([self._predictor.log_odds(shots[:k], targets, user) for k in counts])


def baselines(names: Sequence[str], training: Preferences, seed: int) -> Iterator[Predictor]:
    """The baselines of these names, each fitted to training users when its turn comes.

    Args:
        names: among `NAMES`.
        training: the preferences of other users.
        seed: of what is drawn or starts at random.

    Raises:
        FspoError: at once, if a name is unknown or there is nothing to fit to; in its turn, if a
            package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise FspoError(f"baselines: there is no {name!r}; there are {', '.join(NAMES)}")
    if names and not any(training.by_user.values()):
        raise FspoError(
            f"baselines: {training.source or 'preferences'}: {names[0]!r} has nobody to be fitted "
            "to; hold users out, or split them into train and test"
        )
    return _fitted(names, training, seed)


def _fitted(names: Sequence[str], training: Preferences, seed: int) -> Iterator[Predictor]:
    from fspo.llm.embedding import MiniLM
    from fspo.methods.factors import Factors
    from fspo.methods.gpo import train_gpo
    from fspo.methods.simple import EmbeddingLogistic, Longer, Majority, Nearest
    from fspo.methods.vectors import Remembered, remembered
    from fspo.preferences.factors import ResponseFactors

    def draw() -> np.random.Generator:
        return np.random.default_rng(seed)

    @cache
    def embed() -> Remembered:
        return remembered(MiniLM())

    fits: dict[str, Callable[[], FromShots]] = {
        "majority": lambda: Majority(training),
        "longer": lambda: Longer(training),
        "nearest neighbors": lambda: Nearest(training, embed(), draw()),
        "logistic on the shots": lambda: EmbeddingLogistic(training, embed(), draw(), False),
        "logistic, population and shots": lambda: EmbeddingLogistic(
            training, embed(), draw(), True
        ),
        "factors": lambda: Factors(ResponseFactors(training, draw())),
        "GPO": lambda: train_gpo(training, embed(), seed),
    }
    for name in names:
        yield AtEachCount(fits[name]())
