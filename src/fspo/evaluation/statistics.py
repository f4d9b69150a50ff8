"""Win rates, means by user, and intervals that respect that one user's items belong together.

The functions take plain numbers and know nothing about judges, methods or files.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError

# Users drawn at a time: bounds the memory of a bootstrap over many users to some tens of megabytes.
_DRAWS_PER_BLOCK = 1_000_000


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
