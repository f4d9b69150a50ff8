"""Several predictors as one: their log-odds added, with weights that other users decide.

What a policy adds to simple predictors is what it knows and none of them does: a stack of them
with it, beside one without it, shows that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fspo.evaluation.probing import LogOdds, Probe
from fspo.preferences.logistic import fit_logistic

_STRENGTH = 1.0  # of the L2 penalty: a standard normal prior of every weight
_PARTS = 10  # that users are divided into; each is foretold with what the nine others teach

Told = Sequence[LogOdds]


def stacked_name(name: str) -> str:
    """Returns what reports call the baselines taken together with a policy."""
    return f"baselines and {name}, stacked"


def stacks(
    probes: Sequence[Probe], simple: Mapping[str, Told], policies: Mapping[str, Told]
) -> dict[str, list[LogOdds]]:
    """Simple predictors stacked, and once more with each policy, by what reports call them.

    Args:
        probes: what all were shown and asked.
        simple: what each simple predictor said, as in `stacked`; one at least.
        policies: what each policy said.
    """
    found = {"baselines, stacked": stacked(probes, [*simple.values()])}
    for name, own in policies.items():
        found[stacked_name(name)] = stacked(probes, [*simple.values(), own])
    return found


def stacked(probes: Sequence[Probe], told: Sequence[Told]) -> list[LogOdds]:
    """Returns what several predictors say, as one that has learned how far to believe each.

    Stacked generalization (Wolpert 1992) with a logistic model: the log-odds are the weighted sum
    of all, and every number of shots has weights of its own. Those for a tenth of the users are
    fitted to the choices of all others, so that no user's own choices decide them.

    Args:
        probes: what all were shown and asked.
        told: of each predictor, what `probe` gave for these probes: float64 (counts, targets) each.

    Returns:
        The stack's log-odds for what the user chose, of the same shapes; zeros if there are no
        other users, or all are asked about the same pairs.
    """
    parts = _parts(probes)
    # Of each number of shots, a row for each target with what every predictor says of it.
    said = np.stack([np.concatenate(own, axis=1) for own in told], axis=-1)
    found = np.zeros(said.shape[:2])
    for rows, log_odds in zip(said, found, strict=True):
        for own in (parts == part for part in range(_PARTS)):
            log_odds[own] = rows[own] @ fit_logistic(rows[~own], _STRENGTH)
    ends = np.cumsum([len(probe.targets) for probe in probes])[:-1]
    return np.split(found, ends, axis=1)


def _parts(probes: Sequence[Probe]) -> NDArray[np.int64]:
    """Of each target, which part its user is in.

    Users who were asked about the same pairs are in the same: where two disagree over all of them,
    what is right of one would otherwise teach what is wrong of the other.
    """
    asked: dict[str, list[tuple[str, ...]]] = {}
    for probe in probes:
        pairs = [(p.prompt, *sorted((p.chosen, p.rejected))) for p in probe.targets]
        asked.setdefault(probe.user.user_id, []).extend(sorted(pairs))
    order = sorted(set(map(tuple, asked.values())))
    place = {pairs: number for number, pairs in enumerate(order)}
    parts = [place[tuple(asked[probe.user.user_id])] % _PARTS for probe in probes]
    return np.repeat(parts, [len(probe.targets) for probe in probes])
