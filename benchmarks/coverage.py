"""How often a 95% interval over users covers the truth, by the number of users and the method.

Prints JSON: for each method, shape of data and number of users, the share of simulated data sets
whose interval holds the true mean, and the intervals' median width.

    python benchmarks/coverage.py > coverage.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from fspo.evaluation.statistics import user_ci

Array = NDArray[np.float64]
Users = list[Array]  # each user's items
Interval = tuple[float, float]
Draws = NDArray[np.int64]  # (resamples, users): whose items are in each

USERS = (4, 5, 6, 8, 12, 16, 24, 48)
RESAMPLES = 1000


def wins(rng: np.random.Generator, users: int, rate: float, icc: float) -> Users:
    """Six comparisons of each user, whose own win rate is from a beta distribution."""
    spread = 1 / icc - 1
    rates = rng.beta(rate * spread, (1 - rate) * spread, (users, 1))
    return list((rng.random((users, 6)) < rates).astype(float))


def uneven(rng: np.random.Generator, users: int) -> Users:
    """From 1 to 20 comparisons of each user, of which 70% are won."""
    sizes = np.ceil(rng.pareto(1.5, users) + 0.5).clip(1, 20).astype(int)
    rates = rng.beta(3.5, 1.5, users)
    return [
        (rng.random(size) < rate).astype(float) for size, rate in zip(sizes, rates, strict=True)
    ]


def skewed(rng: np.random.Generator, users: int) -> Users:
    """One number of each user, from an exponential distribution of mean 1."""
    return list(rng.exponential(1.0, (users, 1)))


def differences(rng: np.random.Generator, users: int) -> Users:
    """Two methods told of the same 8 pairs right or wrong, one more often than the other."""
    hard = rng.normal(0, 0.7, (users, 8)) + rng.normal(0, 0.5, (users, 1))
    lead = rng.normal(0, 0.4, (users, 1))
    one = rng.random((users, 8)) < special.expit(1.3 + hard + lead)
    other = rng.random((users, 8)) < special.expit(0.7 + hard - lead)
    return list(one.astype(float) - other)


class Shape(NamedTuple):
    """A kind of data: how it is drawn, its true mean, and whether it is of shares."""

    draw: Callable[[np.random.Generator, int], Users]
    truth: float | None  # None: by one large draw
    kind: Literal["share", "difference", "number"]


SHAPES = {
    "wins, rate 0.5": Shape(partial(wins, rate=0.5, icc=0.1), 0.5, "share"),
    "wins, rate 0.9": Shape(partial(wins, rate=0.9, icc=0.1), 0.9, "share"),
    "wins, uneven numbers": Shape(uneven, 0.7, "share"),
    "paired differences": Shape(differences, None, "difference"),
    "skewed numbers": Shape(skewed, 1.0, "number"),
}


def pooled(sums: Array, sizes: Array) -> Array:
    return np.asarray(sums.sum(axis=-1) / sizes.sum(axis=-1))


def error(sums: Array, sizes: Array) -> Array:
    """The standard error of the pooled mean, by its linearization (users are the units)."""
    users = sums.shape[-1]
    left = sums - pooled(sums, sizes)[..., None] * sizes
    variance = users / (users - 1) * (left**2).sum(axis=-1) / sizes.sum(axis=-1) ** 2
    return np.asarray(np.sqrt(variance))


def percentile(sums: Array, sizes: Array, drawn: Draws) -> Interval:
    low, high = np.percentile(pooled(sums[drawn], sizes[drawn]), [2.5, 97.5])
    return float(low), float(high)


def student(sums: Array, sizes: Array, drawn: Draws) -> Interval:
    reach = stats.t.ppf(0.975, len(sums) - 1) * error(sums, sizes)
    mean = pooled(sums, sizes)
    return float(mean - reach), float(mean + reach)


def bca(sums: Array, sizes: Array, drawn: Draws) -> Interval:
    mean, means = pooled(sums, sizes), pooled(sums[drawn], sizes[drawn])
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    if below in (0, 1) or np.ptp(means) == 0:
        return float(mean), float(mean)
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    away = without.mean() - without
    bend = (away**3).sum() / (6 * (away**2).sum() ** 1.5) if away.any() else 0.0
    bias, z = stats.norm.ppf(below), stats.norm.ppf([0.025, 0.975])
    shares = stats.norm.cdf(bias + (bias + z) / (1 - bend * (bias + z)))
    low, high = np.percentile(means, 100 * shares)
    return float(low), float(high)


def studentized(sums: Array, sizes: Array, drawn: Draws) -> Interval:
    mean, own = pooled(sums, sizes), error(sums, sizes)
    errors = error(sums[drawn], sizes[drawn])
    ok = errors > 1e-12
    if own == 0 or not ok.any():
        return float(mean), float(mean)
    ratios = (pooled(sums[drawn], sizes[drawn])[ok] - mean) / errors[ok]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(mean - high * own), float(mean - low * own)


METHODS: dict[str, Callable[[Array, Array, Draws], Interval]] = {
    "percentile bootstrap": percentile,
    "t over users": student,
    "BCa bootstrap": bca,
    "studentized bootstrap": studentized,
}


def used(items: Users, kind: str, rng: np.random.Generator) -> Interval:
    """What fspo reports."""
    values = {str(user): own.tolist() for user, own in enumerate(items)}
    most = None if kind == "number" else 1.0
    return user_ci(values, rng, RESAMPLES, most, signed=kind == "difference")


def coverage(shape: Shape, users: int, draws: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Of each method: the share of `draws` data sets that are covered, and the median width."""
    rng = np.random.default_rng([seed, users])
    true = shape.truth
    if true is None:
        true = float(np.mean(np.concatenate(shape.draw(np.random.default_rng(99), 1_000_000))))
    held: dict[str, list[Interval]] = {name: [] for name in ("as used", *METHODS)}
    for _ in range(draws):
        items = shape.draw(rng, users)
        sums = np.array([own.sum() for own in items])
        sizes = np.array([float(own.size) for own in items])
        drawn = rng.integers(users, size=(RESAMPLES, users))
        held["as used"].append(used(items, shape.kind, rng))
        for name, method in METHODS.items():
            held[name].append(method(sums, sizes, drawn))
    slack = 1e-9
    return {
        name: {
            "covered": round(float(np.mean([a - slack <= true <= b + slack for a, b in ends])), 4),
            "width": round(float(np.median([b - a for a, b in ends])), 4),
        }
        for name, ends in held.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="simulated data sets of each kind")
    parser.add_argument("--users", type=int, nargs="*", default=list(USERS))
    given = parser.parse_args()
    found: dict[str, Any] = {"draws": given.draws, "resamples": RESAMPLES, "level": 0.95}
    found["margin"] = round(1.96 * math.sqrt(0.95 * 0.05 / given.draws), 4)
    found["shapes"] = {
        name: {str(users): coverage(shape, users, given.draws) for users in given.users}
        for name, shape in SHAPES.items()
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
