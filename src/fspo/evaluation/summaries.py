"""Figures of `results.json`: accuracy by shots, and its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fspo.evaluation.calibration import calibration, fit_temperature
from fspo.evaluation.probing import LogOdds, Probe, correct
from fspo.evaluation.statistics import user_ci
from fspo.preferences.records import User

Values = Mapping[str, Sequence[float]]  # each user's


def accuracy(
    probes: Sequence[Probe], gaps: Sequence[LogOdds], counts: Sequence[int], seed: int
) -> dict[str, Any]:
    """Returns how often a method is for what the user chose, by number of shots.

    `gain` is by how much more often than without shots, on the same pairs.
    """
    by_count = [by_user(probes, [correct(own)[row] for own in gaps]) for row in range(len(counts))]
    summaries = [summary(values, seed, "mean") for values in by_count]
    gains = {
        str(count): summary(
            by_user(probes, [correct(g)[row] - correct(g)[0] for g in gaps]),
            seed,
            "mean",
            signed=True,
        )
        for row, count in enumerate(counts)
        if counts[0] == 0 and count
    }
    members = groups([probe.user for probe in probes])
    return {
        "by_shots": {str(k): s["mean"] for k, s in zip(counts, summaries, strict=True)},
        "ci95": {str(k): s["ci95"] for k, s in zip(counts, summaries, strict=True)},
        "n": summaries[0]["n"],
        "gain": {count: {k: found[k] for k in ("mean", "ci95")} for count, found in gains.items()},
        "by_group": {
            group: {
                str(count): summary({u: values[u] for u in own}, seed, "mean")["mean"]
                for count, values in zip(counts, by_count, strict=True)
            }
            for group, own in members.items()
        },
        "calibration": {"shots": counts[-1]} | _calibrated(by_user(probes, [g[-1] for g in gaps])),
    }


def _calibrated(gaps: Values) -> dict[str, Any]:
    """Calibration with a temperature that was fitted to the other half of the users, if any."""
    users = sorted(gaps)
    if len(users) < 2:
        return {}
    halves = [[gap for user in users[half::2] for gap in gaps[user]] for half in (0, 1)]
    temperatures = [fit_temperature(halves[1]), fit_temperature(halves[0])]
    scaled = [
        gap / temperature
        for half, temperature in zip(halves, temperatures, strict=True)
        for gap in half
    ]
    found = calibration(scaled)
    return {
        "temperatures": [round(value, 4) for value in temperatures],
        "brier": round(found.brier, 4),
        "error": round(found.error, 4),
        "curve": [
            {"predicted": round(b.predicted, 4), "observed": round(b.observed, 4), "n": b.n}
            for b in found.curve
            if b.n
        ],
    }


def by_user(probes: Sequence[Probe], values: Sequence[LogOdds]) -> dict[str, list[float]]:
    """Each user's values, of all of the user's probes one after the other."""
    found: dict[str, list[float]] = {}
    for probe, own in zip(probes, values, strict=True):
        found.setdefault(probe.user.user_id, []).extend(own.tolist())
    return found


def summary(values: Values, seed: int, name: str, signed: bool = False) -> dict[str, Any]:
    """The mean of all values, with its interval over users and their number.

    A `winrate` is in percent, a `mean` from 0 to 1, or, `signed`, of differences.
    """
    flat = [value for own in values.values() for value in own]
    digits, most = (2, 100.0) if name == "winrate" else (4, 1.0)
    interval = user_ci(values, np.random.default_rng(seed), most=most, signed=signed)
    return {
        name: round(float(np.mean(flat)), digits),
        "ci95": known(interval, digits),
        "n": len(flat),
    }


def known(interval: tuple[float, float], digits: int) -> list[float] | None:
    """An interval's ends, or None if it is not known, as with a single user."""
    return [round(end, digits) for end in interval] if np.isfinite(interval).all() else None


def groups(users: Sequence[User]) -> dict[str, list[str]]:
    """Users by the kind that their attributes name, if they name one."""
    found: dict[str, dict[str, None]] = {}
    for user in users:
        if kind := user.attributes.get("kind"):
            found.setdefault(str(kind), {})[user.user_id] = None
    return {group: list(members) for group, members in sorted(found.items())}
