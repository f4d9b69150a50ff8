"""Simple predictors of preferences, which a language model has to beat: fitted when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from fspo.errors import FspoError
from fspo.methods.baselines.simple import EmbeddingLogistic, Longer, Majority, Nearest
from fspo.methods.baselines.vectors import CachedEmbedder, cached
from fspo.methods.method import Floats, Predictor
from fspo.preferences.records import Preference, Preferences, User


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


class Training:
    """The data that baselines are fitted to: other users' preferences, and what reads texts."""

    def __init__(self, preferences: Preferences, seed: int) -> None:
        self.preferences, self.seed = preferences, seed

    @cached_property
    def embed(self) -> CachedEmbedder:
        """The embedded sentence model; each text is embedded once for all baselines."""
        from fspo.llm.embedding import MiniLM

        return cached(MiniLM())

    def generator(self) -> np.random.Generator:
        """Draws the same for each baseline, whichever others there are."""
        return np.random.default_rng(self.seed)


def _factors(given: Training) -> FromShots:
    from fspo.methods.baselines.factors import Factors
    from fspo.preferences.factors import ResponseFactors

    return Factors(ResponseFactors(given.preferences, given.generator()))


def _gpo(given: Training) -> FromShots:
    from fspo.methods.gpo import train_gpo

    return train_gpo(given.preferences, given.embed, given.seed)


def _logistic(given: Training, population: bool) -> FromShots:
    return EmbeddingLogistic(given.preferences, given.embed, given.generator(), population)


BASELINES: dict[str, Callable[[Training], FromShots]] = {
    "majority": lambda given: Majority(given.preferences),
    "longer": lambda given: Longer(given.preferences),
    "nearest neighbors": lambda given: Nearest(given.preferences, given.embed, given.generator()),
    "logistic on the shots": lambda given: _logistic(given, population=False),
    "logistic, population and shots": lambda given: _logistic(given, population=True),
    "factors": _factors,
    "GPO": _gpo,
}


def baselines(names: Sequence[str], training: Preferences, seed: int) -> Iterator[Predictor]:
    """The baselines of these names, each fitted to training users when its turn comes.

    Args:
        names: among `BASELINES`.
        training: the preferences of other users.
        seed: of what is drawn or starts at random.

    Raises:
        FspoError: at once, if a name is unknown or there is nothing to fit to; in its turn, if a
            package is not installed.
    """
    for name in names:
        if name not in BASELINES:
            raise FspoError(f"baselines: there is no {name!r}; there are {', '.join(BASELINES)}")
    if names and not any(training.by_user.values()):
        raise FspoError(
            f"baselines: {training.source or 'preferences'}: {names[0]!r} has nobody to be fitted "
            "to; hold users out, or split them into train and test"
        )
    given = Training(training, seed)
    return (AtEachCount(BASELINES[name](given)) for name in names)
