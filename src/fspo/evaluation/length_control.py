"""The length-controlled win rate: what the win rate would be if both answers were equally long.

It knows nothing about judges, methods or files, nor in what unit lengths are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError
from fspo.evaluation.statistics import FEW_USERS, t_quantile

RIDGE = 0.01  # moves the rate of 100 comparisons by less than 0.1 points
_STEPS = 200  # of Newton's method; it takes about ten
_LONGEST_STEP = 1.0  # so that it never overshoots where the outcomes are nearly separable
_CLOSE = 1e-10
_FITS_PER_BLOCK = 2_000_000  # outcomes times resamples at a time: bounds the bootstrap's memory

Vector = NDArray[np.float64]


class LengthControlled(NamedTuple):
    """A length-controlled win rate in percent, and the ends of its 95% interval, or nan."""

    winrate: float
    low: float
    high: float


def length_controlled_win_rate(
    outcomes: Mapping[str, Sequence[float]],
    lengths: Mapping[str, Sequence[float]],
    other_lengths: Mapping[str, Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 1000,
) -> LengthControlled:
    """The win rate that a logistic model predicts for answers as long as the other side's.

    The model is that of AlpacaEval 2 (Dubois et al., Length-Controlled AlpacaEval, arXiv
    2404.04475, section 3), without its term for how difficult an instruction is, which is estimated
    from many other models:

        P(win) = sigmoid(theta + phi * tanh(d / s)),    d = length - other length,

    with `s` the standard deviation of `d` over all items. `theta` and `phi` maximize the
    likelihood of the outcomes (a tie is an outcome of 0.5) less `RIDGE / 2 * (theta^2 + phi^2)`,
    which keeps them finite where every comparison is won; the published code penalizes by an L1
    norm chosen by cross-validation instead. With `d` set to zero, every item's prediction, and so
    their mean, is `sigmoid(theta)`.

    Base against base is exactly 50, and swapping the two sides gives 100 minus. Where one side is
    the longer one nearly always, nobody can tell what length does from what the method does: then
    the penalty decides, and where `d` is always the same the length term is left out.

    Args:
        outcomes: each user's items: 1 for a win, 0.5 for a tie, 0 for a loss, or a probability.
        lengths: how long the method's answers to the same items are.
        other_lengths: how long the other side's are.
        generator: where the bootstrap's draws come from.
        resamples: how many times the users are drawn; `s` stays what it is.

    Returns:
        The win rate in percent, and its 95% interval over users: the percentiles of a bootstrap,
        or, with fewer than `FEW_USERS`, for which that is too narrow, Student's t on `theta` with
        the standard error of a jackknife that leaves out one user at a time.

    Raises:
        FspoError: if there are no outcomes, one is not between 0 and 1, or lengths do not match.
    """
    users = [user for user, own in outcomes.items() if len(own)]
    won = _joined(outcomes, users)
    _check(outcomes, lengths, other_lengths, won)
    gaps = _joined(lengths, users) - _joined(other_lengths, users)
    spread = gaps.std(ddof=1) if len(gaps) > 1 else 0.0
    pulls = np.tanh(gaps / spread) if spread > 0 else np.zeros_like(gaps)
    owner = np.repeat(np.arange(len(users)), [len(outcomes[user]) for user in users])
    [theta] = _intercepts(pulls, won, np.ones((1, len(won))))
    if len(users) == 1:
        return LengthControlled(_percent(theta), math.nan, math.nan)
    if len(users) < FEW_USERS:
        return LengthControlled(_percent(theta), *_jackknifed(pulls, won, owner, theta))
    block = max(1, _FITS_PER_BLOCK // len(won))
    rates = [
        _percent(found)
        for start in range(0, resamples, block)
        for found in _intercepts(
            pulls, won, _drawn(len(users), min(block, resamples - start), generator)[:, owner]
        )
    ]
    low, high = np.percentile(rates, [2.5, 97.5])
    return LengthControlled(_percent(theta), float(low), float(high))


def _jackknifed(
    pulls: Vector, won: Vector, owner: NDArray[np.int_], theta: float
) -> tuple[float, float]:
    users = int(owner.max()) + 1
    without = _intercepts(pulls, won, (owner != np.arange(users)[:, None]).astype(np.float64))
    error = math.sqrt((users - 1) / users * ((without - without.mean()) ** 2).sum())
    reach = t_quantile(np.bincount(owner)) * error
    return float(_percent(theta - reach)), float(_percent(theta + reach))


def _intercepts(pulls: Vector, won: Vector, weights: Vector) -> Vector:
    """`theta` for each row of `weights`, (fits, items), by Newton's method on all fits at once."""
    theta, phi = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-(theta[:, None] + phi[:, None] * pulls)))
        missed, curve = weights * (won - expected), weights * expected * (1 - expected)
        slope = missed.sum(axis=1) - RIDGE * theta, missed @ pulls - RIDGE * phi
        # The Hessian's entries; its determinant is positive, as the penalty is.
        a, b, c = curve.sum(axis=1) + RIDGE, curve @ pulls, curve @ pulls**2 + RIDGE
        determinant = a * c - b**2
        step = np.array([c * slope[0] - b * slope[1], a * slope[1] - b * slope[0]]) / determinant
        length = np.hypot(*step)
        step *= np.minimum(1.0, _LONGEST_STEP / np.maximum(length, _CLOSE))
        theta, phi = theta + step[0], phi + step[1]
        if length.max() < _CLOSE:
            break
    return theta


def _drawn(users: int, times: int, generator: np.random.Generator) -> Vector:
    """Returns how often each user is in each of `times` draws with replacement: (times, users)."""
    return generator.multinomial(users, np.full(users, 1 / users), size=times).astype(np.float64)


def _joined(by_user: Mapping[str, Sequence[float]], users: Sequence[str]) -> Vector:
    values = [value for user in users for value in by_user.get(user, ())]
    return np.array(values, dtype=np.float64)


def _check(
    outcomes: Mapping[str, Sequence[float]],
    lengths: Mapping[str, Sequence[float]],
    other_lengths: Mapping[str, Sequence[float]],
    won: Vector,
) -> None:
    if not len(won):
        raise FspoError("there is nothing to average: no user has an outcome.")
    if not ((won >= 0) & (won <= 1)).all():
        raise FspoError("an outcome is not between 0 (loss) and 1 (win).")
    for user, own in outcomes.items():
        counts = len(own), len(lengths.get(user, ())), len(other_lengths.get(user, ()))
        if len(set(counts)) > 1:
            raise FspoError(
                f"user {user!r}: {counts[0]} outcomes, {counts[1]} lengths and {counts[2]} lengths "
                "of the other side; there has to be one of each for every item."
            )


def _percent(theta: float) -> float:
    return float(100 / (1 + np.exp(-theta)))
