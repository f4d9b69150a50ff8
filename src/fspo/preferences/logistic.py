"""A logistic model of choices, fitted to a few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(values: Floats) -> Floats:
    """`1 / (1 + exp(-x))` of each, whatever its size."""
    small = np.exp(-np.abs(values))  # never overflows
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def log_loss(log_odds: Floats) -> float:
    """The mean of `-log sigmoid(h)`, in nats: how well right answers were foretold."""
    return float(np.logaddexp(0, -log_odds).mean())


def entropy(probabilities: Floats) -> Floats:
    """Returns the entropy of a choice between two, in nats, for each probability of the first."""
    p = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log(p) + (1 - p) * np.log(1 - p)))


def fit_logistic(rows: Floats, l2: float, offsets: Floats | None = None) -> Floats:
    """The weights w that minimize `sum_i -log sigmoid(x_i.w + o_i) + l2 / 2 |w|^2`.

    Bradley and Terry's model with features, where every row is chosen minus rejected, so that all
    labels are 1 and there is no intercept. By Newton's method with step halving (Boyd and
    Vandenberghe, Convex Optimization, 2004, algorithm 9.5), in the space that the rows span: the
    penalty leaves nothing outside of it.

    Args:
        rows: (n, width), chosen minus rejected; n may be 0.
        l2: strength of the penalty, above 0, beside the sum of the losses (not their mean).
        offsets: (n,), log-odds that are known before; 0 if left out.

    Returns:
        (width,); zeros where there are no rows.
    """
    if len(rows) < rows.shape[1]:
        basis, triangle = np.linalg.qr(rows.T)
        return np.asarray(basis @ _newton(triangle.T, l2, offsets))
    return _newton(rows, l2, offsets)


def _newton(rows: Floats, l2: float, offsets: Floats | None, tolerance: float = 1e-10) -> Floats:
    offsets = np.zeros(len(rows)) if offsets is None else offsets
    weights = np.zeros(rows.shape[1])

    def loss(at: Floats) -> float:
        return float(np.logaddexp(0, -(rows @ at + offsets)).sum() + l2 / 2 * at @ at)

    now = loss(weights)
    for _ in range(100):
        wrong = sigmoid(-(rows @ weights + offsets))
        gradient = l2 * weights - rows.T @ wrong
        curvature = (rows * (wrong * (1 - wrong))[:, None]).T @ rows + l2 * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ step)  # Newton's decrement, squared
        if gain < tolerance:
            break
        size = 1.0
        while size > 1e-6 and loss(weights - size * step) > now - size * gain / 4:
            size /= 2
        weights = weights - size * step
        now = loss(weights)
    return weights
