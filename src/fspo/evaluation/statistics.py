"""Win rates, means, tests, and intervals that respect that one user's items belong together.

The functions take plain numbers and know nothing about judges, methods or files.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError

# Below so many users a bootstrap over them is too narrow (benchmarks/coverage.py).
FEW_USERS = 24
INTERVALS = (
    f"95%, over users. From {FEW_USERS} users on: the percentiles of a bootstrap that resamples "
    "users. With fewer: Student's t of the users' deviations from the mean, and for win rates and "
    "other shares Wilson's interval with as many answers as the users' deviations are worth; the "
    "degrees of freedom are those of as many users of equal weight. A difference between two "
    "groups of users is made of the two groups' own intervals (Newcombe)."
)
# Users drawn at a time: bounds the memory of a bootstrap over many users to some tens of megabytes.
_DRAWS_PER_BLOCK = 1_000_000


class Difference(NamedTuple):
    """The difference of two means, with the ends of its 95% interval, or nan."""

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
    """The mean over all items of all users: what `user_ci` gives an interval for.

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


def user_ci(
    values_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
    most: float | None = None,
    signed: bool = False,
) -> tuple[float, float]:
    """The 95% interval of the mean over all items, which knows that a user's items belong together.

    From `FEW_USERS` users on it is `bootstrap_ci`. With fewer, that is too narrow: 85% instead of
    95% with four users. Then the mean `m` of the `N` items of `U` users has the standard error

        SE^2 = U / (U - 1) * sum_u (s_u - m n_u)^2 / N^2

    with `s` a user's sum and `n` a user's number of items (the linearization of a ratio; Cochran,
    Sampling Techniques, 1977, section 6.3), and `t` is Student's, with `N^2 / sum n_u^2 - 1`
    degrees of freedom: as many users as there would be if all had as many items (Kish). The
    interval is `m - t SE` to `m + t SE`. For shares, which lie between 0 and `most`, it is Wilson's
    with `m (1 - m) / SE^2` for the number of trials (Korn and Graubard, Survey Methodology 24,
    1998; Dean and Pagano, Journal of Survey Statistics and Methodology 3, 2015): it stays between
    0 and `most`, and does not shrink to a point where everybody won everything. There, `SE` is no
    smaller than it would be if all items were independent.

    Args:
        values_by_user: each user's items; users without items are left out.
        generator: where a bootstrap's draws come from.
        resamples: how many times a bootstrap draws the users.
        most: of a share, 1 or 100: items lie between 0 and it. None for items of any size.
        signed: items are differences of shares, and lie between `-most` and `most`.

    Returns:
        The lower and the upper end; both are nan for a single user.

    Raises:
        FspoError: if no user has a value.
    """
    kept = [np.asarray(values, dtype=np.float64) for values in values_by_user.values()]
    kept = [values for values in kept if values.size]
    if not 2 <= len(kept) < FEW_USERS:
        return bootstrap_ci(values_by_user, generator, resamples)
    items = np.concatenate(kept) / (most or 1.0)
    sums = np.array([values.sum() for values in kept]) / (most or 1.0)
    sizes = np.array([values.size for values in kept])
    users, total = len(kept), len(items)
    mean = float(sums.sum() / total)
    error = math.sqrt(users / (users - 1) * ((sums - mean * sizes) ** 2).sum()) / total
    t = t_quantile(sizes)
    if most is None:
        return mean - t * error, mean + t * error
    if signed:
        return most * max(-1.0, mean - t * error), most * min(1.0, mean + t * error)
    low, high = _wilson(mean, max(error, float(items.std()) / math.sqrt(total)), total, t)
    return most * low, most * high


def _wilson(mean: float, error: float, total: int, t: float) -> tuple[float, float]:
    """Wilson's interval of a share, as if of as many trials as have this standard error."""
    variance = mean * (1 - mean)
    if variance > 0 and error == 0:
        return mean, mean  # every item the same: nothing was counted that could come out otherwise
    weight = t**2 * (error**2 / variance if variance > 0 else 1 / total)
    middle = (mean + weight / 2) / (1 + weight)
    reach = math.sqrt(variance * weight + weight**2 / 4) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def t_quantile(sizes: NDArray[np.int_]) -> float:
    """The 97.5th percentile of Student's t for users with so many items each.

    It has as many degrees of freedom as there would be users, less one, if all had as many items.
    """
    from scipy import stats

    return float(stats.t.ppf(0.975, max(1.0, sizes.sum() ** 2 / float((sizes**2).sum()) - 1)))


def paired_difference(
    one_by_user: Mapping[str, Sequence[float]],
    other_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
    most: float | None = None,
) -> Difference:
    """Returns how much better one method does than another on the same items of the same users.

    The mean over all items of `one - other`, with the interval of `user_ci`: what an item or a
    user has in common to both methods cancels, so that it is narrower than two separate intervals
    suggest.

    Args:
        one_by_user: each user's items under one method.
        other_by_user: the same items, in the same order, under the other.
        generator: where the draws come from.
        resamples: how many times the users are drawn.
        most: of shares, what they are at most, 1 or 100; None for items of any size.

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
    low, high = user_ci(differences, generator, resamples, most, signed=True)
    return Difference(pooled_mean(differences), low, high)


def unpaired_difference(
    one_by_user: Mapping[str, Sequence[float]],
    other_by_user: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 10_000,
    most: float | None = None,
) -> Difference:
    """Returns how much higher the mean of some users' items is than that of other users' items.

    With `FEW_USERS` or more on both sides, each side's users are drawn by themselves, as in
    `bootstrap_ci`; the interval is the 2.5th to the 97.5th percentile of the differences of the two
    means. Else it is made of the sides' own intervals by `user_ci`: the lower end is as far from
    the difference as the square root of the sum of the squares of how far the one's lower and the
    other's upper end are from their means (Newcombe, Statistics in Medicine 17, 1998, method 10;
    Donner and Zou, Statistical Methods in Medical Research 21, 2012). It is nan with a single user
    on a side. `most` is as in `user_ci`.

    Raises:
        FspoError: if one side has no value.
    """
    means = pooled_mean(one_by_user), pooled_mean(other_by_user)
    difference = means[0] - means[1]
    sides = [[v for v in side.values() if len(v)] for side in (one_by_user, other_by_user)]
    if min(map(len, sides)) < 2:
        return Difference(difference, math.nan, math.nan)
    if min(map(len, sides)) < FEW_USERS:
        one_low, one_high = user_ci(one_by_user, generator, resamples, most)
        other_low, other_high = user_ci(other_by_user, generator, resamples, most)
        down = math.hypot(means[0] - one_low, other_high - means[1])
        up = math.hypot(one_high - means[0], means[1] - other_low)
        return Difference(difference, difference - down, difference + up)
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
    from scipy import stats

    return float(stats.binomtest(wins, n, alternative="greater").pvalue) if n else 1.0


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
