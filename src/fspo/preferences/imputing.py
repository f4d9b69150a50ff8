"""Imputes what users would have chosen between responses that they were not asked about.

A person's choices are few, and a quarter of them goes against what the same person chooses
otherwise. Collaborative filtering, fitted to everybody's, says how likely a user would choose one
response rather than another, of any two to a prompt that others have judged: knowing all that the
user chose, and knowing the first few choices alone. The choices are drawn by the one; the other is
what a reader of those few can know of the next, and a label that holds no chance: what everybody
likes and who is who can be learned from far fewer of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fspo.preferences.factors import fit_factors
from fspo.preferences.logistic import Floats, sigmoid
from fspo.preferences.records import (
    Episode,
    Preference,
    Preferences,
    plain_text,
    without_repetition,
)

_SURE = 1.0  # log-odds of the likelier choice, at least: 73%
_CANDIDATES = 64  # pairs that are looked at for each that is wanted
_FAR = 2.0  # how far out a decided taste is, in the prior's standard deviations

Ints = NDArray[np.int64]


class Imputed:
    """Training users' choices between any responses to the same prompt that training users judged.

    Every other pair is one over which it matters who the user is: there the user's own taste
    weighs more than what everybody likes. (Of all pairs few are so, and what is common to all
    would be all that is learned.) Where users' choices show no taste of their own, there are none.

    Attributes:
        fitted: the factors of all training users' choices.
    """

    def __init__(self, preferences: Preferences, generator: np.random.Generator) -> None:
        """Fits the factors.

        Args:
            preferences: the training users'.
            generator: what is held out to find out whether they are of use, and where they start.

        Raises:
            FspoError: if there are no preferences.
        """
        self.fitted = fit_factors(preferences, generator)
        self._users = {
            user: self.fitted.of_user(rows) for user, rows in preferences.by_user.items()
        }
        of_prompt: dict[str, list[int]] = defaultdict(list)
        for place, (prompt, _) in enumerate(self.fitted.responses):
            of_prompt[plain_text(prompt)].append(place)
        # Each response with where the others to its prompt stand in one array.
        self._order: Ints = np.array([p for own in of_prompt.values() for p in own], np.int64)
        self._starts = np.zeros(len(self._order), np.int64)
        self._counts = np.zeros(len(self._order), np.int64)
        start = 0
        for own in of_prompt.values():
            self._starts[own], self._counts[own] = start, len(own)
            start += len(own)

    @property
    def knows_tastes(self) -> bool:
        """Returns whether users' choices show any taste of their own."""
        return bool(np.any(self.fitted.factors))

    def draw(
        self, user: str, most: int, seed: int | Sequence[int], opposite: bool = False
    ) -> Episode:
        """Up to `most` pairs, no prompt twice or else no response twice, as the user would choose.

        The choices are drawn by chance; which pairs are asked about is not. `likely` is what the
        factors say of each choice with those before it for shots.

        Args:
            user: one of the training users.
            most: how many at most.
            seed: what is drawn depends on it.
            opposite: the same pairs, as somebody would choose whose taste is the reverse of the
                user's, who likes what everybody likes as much (and whom the factors' prior, a
                normal distribution around 0, takes for as likely).
        """
        generator = np.random.default_rng(seed)
        pairs = self._candidates(most * _CANDIDATES, generator)
        common, own = self._log_odds(pairs, self._users[user])
        sure = np.abs(common + own) >= _SURE
        places = _alternating(np.flatnonzero(sure & _personal(common, own)), np.flatnonzero(sure))
        rows = self._drawn(pairs, common - own if opposite else common + own, places, generator)
        kept = without_repetition(rows, most)
        # In another order: whether a pair is personal is not to be read off its place.
        said = [kept[k] for k in generator.permutation(len(kept))]
        return Episode(user, said, self._likely(said))

    def behind(
        self,
        user: str,
        opposite: str,
        shots: Sequence[Preference],
        most: int,
        seed: int | Sequence[int],
    ) -> Episode:
        """`shots`, and behind them pairs over which it matters who somebody is.

        They are chosen as by somebody with a decided taste, on the user's side of the opposite.
        Both sides are asked about the same pairs.

        Args:
            user: one of the training users.
            opposite: another.
            shots: what the user chose where the other did not.
            most: how many pairs in all, at most.
            seed: what is drawn depends on it.
        """
        generator = np.random.default_rng(seed)
        apart = self._users[user] - self._users[opposite]
        pairs = self._candidates(most * _CANDIDATES, generator)
        common, own = self._log_odds(pairs, _FAR * apart / (np.linalg.norm(apart) or 1.0))
        places = np.flatnonzero(_personal(common, own)).tolist()
        rows = self._drawn(pairs, common + own, places, generator)
        said = [*shots, *without_repetition(rows, most - len(shots), shots)]
        return Episode(user, said, self._likely(said))

    def _log_odds(self, pairs: tuple[Ints, Ints], taste: Floats) -> tuple[Floats, Floats]:
        """Of the first of each pair: what everybody's liking makes of it, and what a taste adds."""
        one, other = pairs
        fitted = self.fitted
        own: Floats = (fitted.factors[one] - fitted.factors[other]) @ taste
        return fitted.biases[one] - fitted.biases[other], own

    def _drawn(
        self,
        pairs: tuple[Ints, Ints],
        log_odds: Floats,
        places: Sequence[int],
        generator: np.random.Generator,
    ) -> list[Preference]:
        """Choices between the pairs at these places, by chance."""
        first = generator.random(len(log_odds)) < sigmoid(log_odds)
        chosen, rejected = np.where(first, pairs, pairs[::-1]).tolist()
        return [self._preference(chosen[place], rejected[place]) for place in places]

    def _likely(self, said: Sequence[Preference]) -> list[float]:
        """Of each choice, how likely it is to somebody who knows those before it."""
        log_odds = [
            self.fitted.log_odds(self.fitted.of_user(said[:shots]), [said[shots]])
            for shots in range(len(said))
        ]
        return [float(likely) for likely in sigmoid(np.ravel(log_odds))]

    def _candidates(self, count: int, generator: np.random.Generator) -> tuple[Ints, Ints]:
        """Pairs of different responses to the same prompt."""
        one = generator.integers(len(self._order), size=count)
        drawn = generator.random(count) * self._counts[one]
        other = self._order[self._starts[one] + drawn.astype(np.int64)]
        differ = one != other
        return one[differ], other[differ]

    def _preference(self, chosen: int, rejected: int) -> Preference:
        prompt, text = self.fitted.responses[chosen]
        return Preference(prompt, text, self.fitted.responses[rejected][1])


def _personal(common: Floats, own: Floats) -> NDArray[np.bool_]:
    """Returns where it matters who the user is: beyond what everybody likes, and sure enough."""
    return np.abs(own) >= np.maximum(_SURE, np.abs(common))


def _alternating(first: Ints, second: Ints) -> list[int]:
    """Of both in turns, each once; when one has no more, what is left of the other."""
    longest = max(len(first), len(second))
    both = np.full((longest, 2), -1, np.int64)
    both[: len(first), 0], both[: len(second), 1] = first, second
    return list(dict.fromkeys(place for place in both.ravel().tolist() if place >= 0))
