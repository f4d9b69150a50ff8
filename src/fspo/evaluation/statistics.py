"""Win rates, means, tests, and intervals that respect that one user's items belong together.

The functions take plain numbers and know nothing about judges, methods or files.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError

# Users drawn at a time: bounds the memory of a bootstrap over many users to some tens of megabytes.
_DRAWS_PER_BLOCK = 1_000_000


class Difference(NamedTuple):
    """How much higher one mean is than another, with the ends of its 95% interval, or nan."""

    mean: float
    low: float
    high: float


def win_rate(outcomes: Iterable[float]) -> float:
    """The share of comparisons that were won, in percent, a tie counting half.

    `100 / n * sum(outcome)`, where an outcome is 1 for a win, 0.5 for a tie and 0 for a loss: the
    win rate of AlpacaEval (Li et al., 2023), which FSPO's tables report.

    Raises:
        FspoError: if there are no outcomes, or one of them is not between 0 and 1.
    """
    values = list(outcomes)
    for number, value in enumerate(values, 1):
        if not 0.0 <= value <= 1.0:
            raise FspoError(
                f"outcome {number} is {value!r}; an outcome is 1 (win), 0.5 (tie) or 0 (loss)."
            )
    return 100.0 * _mean(values)


def mean_by_user(values_by_user: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Each user's own mean; users without values are left out."""
    return {user: _mean(values) for user, values in values_by_user.items() if len(values)}


def pooled_mean(values_by_user: Mapping[str, Sequence[float]]) -> float:
    """The mean over all items of all users: what `bootstrap_ci` gives an interval for.

    Raises:
        FspoError: if no user has a value.
    """
    return _mean([value for values in values_by_user.values() for value in values])


def bootstrap_ci(
    values_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of the mean over all items, resampling whole users.

    For each of `resamples` draws `u*` of as many users as there are, with replacement, the mean is
    `sum(s[u*]) / sum(n[u*])` with `s` a user's sum and `n` a user's number of items; the interval
    is the 2.5th to the 97.5th percentile of these means (Efron and Tibshirani, An Introduction to
    the Bootstrap, 1993, chapter 13). A user's items resemble each other, so users are drawn and not
    items, which would give an interval that is too narrow (Davison and Hinkley, Bootstrap Methods
    and Their Application, 1997, section 3.8).

    Args:
        values_by_user: each user's items; users without items are left out.
        generator: where the draws come from; the same state gives the same interval.
        resamples: how many times the users are drawn.

    Returns:
        The lower and the upper end; both are nan for a single user, who says nothing about how much
        users differ.

    Raises:
        FspoError: if no user has a value.
    """
    kept = [np.asarray(values, dtype=np.float64) for values in values_by_user.values()]
    kept = [values for values in kept if values.size]
    if not kept:
        raise FspoError("there is nothing to average: no user has a value.")
    if len(kept) == 1:
        return math.nan, math.nan
    means = _resampled_means(
        np.array([values.sum() for values in kept]),
        np.array([values.size for values in kept]),
        generator,
        resamples,
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    one_by_user: Mapping[str, Sequence[float]],
    other_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
) -> Difference:
    """How much better one method does than another on the same items of the same users.

    The mean over all items of `one - other`, with the interval of `bootstrap_ci`: what an item or a
    user has in common to both methods cancels, so that it is narrower than two separate intervals
    suggest.

    Args:
        one_by_user: each user's items under one method.
        other_by_user: the same items, in the same order, under the other.
        generator: where the draws come from.
        resamples: how many times the users are drawn.

    Raises:
        FspoError: if no user has a value, or the two do not have the same users and items.
    """
    if one_by_user.keys() != other_by_user.keys():
        user = min(one_by_user.keys() ^ other_by_user.keys())
        raise FspoError(f"user {user!r}: only one of the two methods that are compared has items.")
    differences: dict[str, list[float]] = {}
    for user, one in one_by_user.items():
        other = other_by_user[user]
        if len(one) != len(other):
            raise FspoError(
                f"user {user!r}: one method has {len(one)} items and the other {len(other)}; "
                "compare methods on the same items."
            )
        differences[user] = [a - b for a, b in zip(one, other, strict=True)]
    low, high = bootstrap_ci(differences, generator, resamples)
    return Difference(pooled_mean(differences), low, high)


def unpaired_difference(
    one_by_user: Mapping[str, Sequence[float]],
    other_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
) -> Difference:
    """How much higher the mean of some users' items is than that of other users' items.

    Each side's users are drawn by themselves, as in `bootstrap_ci`; the interval is the 2.5th to
    the 97.5th percentile of the differences of the two means, and nan with a single user on a side.

    Raises:
        FspoError: if one side has no value.
    """
    difference = pooled_mean(one_by_user) - pooled_mean(other_by_user)
    sides = [[v for v in side.values() if len(v)] for side in (one_by_user, other_by_user)]
    if min(map(len, sides)) < 2:
        return Difference(difference, math.nan, math.nan)
    one, other = (
        _resampled_means(
            np.array([math.fsum(values) for values in side]),
            np.array([len(values) for values in side]),
            generator,
            resamples,
        )
        for side in sides
    )
    low, high = np.percentile(one - other, [2.5, 97.5])
    return Difference(difference, float(low), float(high))


def wins_of_decided(outcomes: Iterable[float]) -> tuple[int, int]:
    """(wins, comparisons that were won or lost): a tie decides nothing and is left out.

    An outcome above 0.5 is a win, one below a loss: what a sign test counts.
    """
    values = list(outcomes)
    return sum(value > 0.5 for value in values), sum(value != 0.5 for value in values)


def binomial_p(wins: int, n: int) -> float:
    """The one-sided exact binomial test that a win is more probable than 1/2.

    `sum_{k >= wins} C(n, k) / 2^n`: how probable so many wins of `n` would be if each were as
    probable as a loss (a sign test; Conover, Practical Nonparametric Statistics, 1999, section
    3.4). Ties are left out before, as `wins_of_decided` does. The test takes the comparisons for
    independent: where a user has many, `bootstrap_ci` is the one to believe.

    Args:
        wins: how many comparisons were won.
        n: how many were won or lost.

    Returns:
        The p-value; 1 without a comparison.

    Raises:
        FspoError: unless 0 <= wins <= n.
    """
    if not 0 <= wins <= n:
        raise FspoError(f"{wins} wins of {n} comparisons: there can be from 0 to {n}.")
    if 2 * wins <= n:  # by symmetry; the terms of a sum are added from its largest on
        return 1.0 - (binomial_p(n - wins + 1, n) if wins else 0.0)
    term = math.comb(n, wins) / 2**n  # of whole numbers, so that it is exact to the last digit
    terms = [term]
    for k in range(wins, n):
        term *= (n - k) / (k + 1)
        terms.append(term)
    return math.fsum(terms)


def _resampled_means(
    sums: NDArray[np.float64],
    sizes: NDArray[np.int_],
    generator: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    users = len(sums)
    means = np.empty(resamples)
    block = max(1, _DRAWS_PER_BLOCK // users)
    for start in range(0, resamples, block):
        drawn = generator.integers(users, size=(min(block, resamples - start), users))
        means[start : start + block] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _mean(values: Sequence[float]) -> float:
    if not len(values):
        raise FspoError("there is nothing to average: no user has a value.")
    return math.fsum(values) / len(values)
