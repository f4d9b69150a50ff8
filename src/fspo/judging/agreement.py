"""Agreement of judges with each other, and with people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from fspo.errors import FspoError
from fspo.judging.verdicts import Comparison
from fspo.preferences.records import Preferences


class Agreement(NamedTuple):
    """The agreement of two judges.

    Attributes:
        n: how many items both have judged.
        share: the share of items with the same verdict, from 0 to 1.
        kappa: what that is beyond chance: 1 at best, 0 for chance; nan where chance alone makes
            them agree on everything.
    """

    n: int
    share: float
    kappa: float


def agreement(one: Sequence[float], other: Sequence[float]) -> Agreement:
    """Measures how often two judges say the same: the first answer, the second one, or neither.

    A probability over 0.5 is a verdict for the first answer, one below for the second, and 0.5 for
    neither, which is a verdict of its own. `kappa = (share - chance) / (1 - chance)`, with `chance`
    how often the two would say the same if each drew from its own verdicts (Cohen, A Coefficient of
    Agreement for Nominal Scales, 1960).

    Args:
        one: the probabilities of one judge's verdicts, or people's labels.
        other: the other's, of the same comparisons in the same order.

    Raises:
        FspoError: if there are none, or not as many of one as of the other.
    """
    if len(one) != len(other) or not one:
        raise FspoError(
            f"{len(one)} and {len(other)} verdicts: agreement is measured on the same items, at "
            "least one."
        )
    n = len(one)
    verdicts = [_side(p) for p in one], [_side(p) for p in other]
    share = sum(a == b for a, b in zip(*verdicts, strict=True)) / n
    said, heard = map(Counter, verdicts)
    chance = sum(said[verdict] * heard[verdict] for verdict in said) / n**2
    return Agreement(n, share, (share - chance) / (1 - chance) if chance < 1 else math.nan)


def labeled_comparisons(preferences: Preferences) -> tuple[list[Comparison], list[float]]:
    """Turns people's choices into comparisons, and their labels: what a judge is measured by.

    The chosen response comes first in about half of them, by a hash of the two, so that
    always naming the first one is no better than chance.
    """
    comparisons, labels = [], []
    for user_id, preference in preferences:
        first = _comes_first(preference.chosen, preference.rejected)
        pair = (preference.chosen, preference.rejected)
        comparisons.append(
            Comparison(preferences.users[user_id], preference.prompt, *pair[:: 1 if first else -1])
        )
        labels.append(float(first))
    return comparisons, labels


def _comes_first(text: str, other: str) -> bool:
    one, two = (blake2b(t.encode(errors="surrogatepass")).digest() for t in (text, other))
    return one <= two


def _side(probability: float) -> int:
    return (probability > 0.5) - (probability < 0.5)
