"""Calibration: whether preferences that are predicted with 80% come true in 80% of cases.

A prediction is a gap: the log-odds that the response the user chose is the preferred one, such as
the difference of the implicit rewards. The functions know nothing about models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError
from fspo.preferences.logistic import sigmoid

SHARPEST, FLATTEST = 0.01, 100.0  # temperatures, in units of the gaps' root mean square
_HALVINGS = 100


class Bin(NamedTuple):
    """The predictions between `low` and `high` (the last bin holds its upper end, too).

    Attributes:
        low: its lower end.
        high: its upper end.
        n: how many predictions fall in it.
        predicted: their mean; nan if there are none.
        observed: the share of them that came true; nan if there are none.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float


class Calibration(NamedTuple):
    """The calibration of predicted preferences.

    Attributes:
        brier: the Brier score: 0 at best, 0.25 for always saying 1/2.
        error: the expected calibration error: 0 at best, 0.5 at worst.
        curve: the reliability curve.
    """

    brier: float
    error: float
    curve: list[Bin]


def calibration(gaps: Sequence[float], temperature: float = 1.0, bins: int = 10) -> Calibration:
    """The reliability curve of `p = sigmoid(gap / temperature)`, and what sums it up.

    A pair has no first response, so it counts as two predictions: `p` that the chosen response is
    preferred, which came true, and `1 - p` that the rejected one is, which did not. So the counts
    of the curve sum to twice the pairs, the curve's two halves mirror each other (but for
    predictions that lie on the edge of a bin), and a model that always says 1/2 is calibrated.

    The Brier score (Brier 1950) is the mean of `(p - outcome)^2` over all predictions, and so the
    mean of `(1 - p)^2` over the pairs. The expected calibration error (Naeini et al. 2015; Guo et
    al. 2017, equation 3) is the mean of `|observed - predicted|` over the bins, by their counts.

    Args:
        gaps: for each pair, the log-odds that the chosen response is preferred.
        temperature: what the gaps are divided by.
        bins: how many bins of equal width there are.

    Raises:
        FspoError: if there are no gaps, or one is not finite.
    """
    chosen = sigmoid(_checked(gaps) / temperature)
    predictions = np.concatenate([chosen, 1 - chosen])
    outcomes = np.repeat([1.0, 0.0], len(chosen))
    places = np.minimum((predictions * bins).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan: an empty bin
        predicted = np.bincount(places, predictions, bins) / counts
        observed = np.bincount(places, outcomes, bins) / counts
    distances = np.nan_to_num(np.abs(observed - predicted))
    curve = [
        Bin(k / bins, (k + 1) / bins, int(counts[k]), float(predicted[k]), float(observed[k]))
        for k in range(bins)
    ]
    brier = float(np.mean((1 - chosen) ** 2))
    return Calibration(brier, float(distances @ counts / len(predictions)), curve)


def fit_temperature(gaps: Sequence[float]) -> float:
    """The temperature `t` under which the choices are likeliest: the least `-log sigmoid(gap / t)`.

    Temperature scaling (Guo et al. 2017, section 4.2), for pairs: to be fitted on validation users
    and used on others. The loss is convex in `1 / t`, so that halving an interval finds its
    minimum; `t` grows with the gaps' unit. It is kept between `SHARPEST` and `FLATTEST` times
    the gaps' root mean square: the former if all gaps are positive, so that no `t` is too small,
    and the latter if they say less than nothing (a mean of at most 0), so that none is too large.
    If all gaps are 0 every `t` is as good, and it is 1.

    Args:
        gaps: for each pair, the log-odds that the chosen response is preferred.

    Raises:
        FspoError: if there are no gaps, or one is not finite.
    """
    values = _checked(gaps)
    size = float(np.abs(values).max())
    if size == 0:
        return 1.0
    values = values / size  # so that the square of none is too small or too large to be written
    scale = float(np.sqrt(np.mean(values**2)))
    low, high = np.log(SHARPEST), np.log(FLATTEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        sharpness = 1 / (scale * np.exp(middle))
        falls = np.mean(values * sigmoid(-values * sharpness)) > 0  # a sharper one is likelier
        low, high = (low, middle) if falls else (middle, high)
    return float(size * scale * np.exp((low + high) / 2))


def _checked(gaps: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(gaps, dtype=np.float64)
    if not values.size:
        raise FspoError("there is nothing to calibrate: no pair has a predicted preference.")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise FspoError(f"pair {place + 1}: its gap is {values[place]}; a gap is a finite number.")
    return values
