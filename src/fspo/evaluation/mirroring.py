"""Separates what a user's choices say from what else their words do to a prediction.

The texts of the shots stand in the context whichever of two was chosen, and move what a small model
says of any pair. So it is asked twice: with the user's choices, and with each of them turned round,
as somebody of the opposite taste would have made it. The words are the same in both, and cancel out
of the difference. What everybody likes is asked without shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fspo.evaluation.answer_cache import AnswerCache
from fspo.evaluation.probing import LogOdds, Probe, probe
from fspo.methods.method import Floats, Predictor
from fspo.preferences.records import Preference


def mirrored_name(name: str) -> str:
    """Returns what reports call a method's predictions when they are read off so."""
    return f"{name}, mirrored"


def turned_round(shots: Sequence[Preference]) -> list[Preference]:
    """The same shots, as somebody of the opposite taste would have chosen."""
    return [shot.reversed() for shot in shots]


def mirrored(everybody: Floats, told: Floats, opposite: Floats) -> Floats:
    """`f(no shots) + (f(S) - f(-S)) / 2`, with -S the shots S turned round.

    Where f adds to what everybody likes something that changes its sign with every choice, this is
    f(S) itself.

    Args:
        everybody: log-odds or rewards without shots, in nats, of any shape that fits the others'.
        told: the same after the user's shots.
        opposite: the same after these turned round.
    """
    return everybody + (told - opposite) / 2


def probe_mirrored(
    method: Predictor,
    probes: Sequence[Probe],
    counts: Sequence[int],
    told: Sequence[LogOdds],
    kept: AnswerCache | None = None,
) -> list[LogOdds]:
    """Returns what `probe` gave for these probes, mirrored, float64 (counts, targets) each.

    Args:
        method: who is asked once more.
        probes: what it was shown and asked.
        counts: after how many of a probe's shots; 0 is the first of several.
        told: what it said.
        kept: as in `probe`.
    """
    turned = [replace(one, shots=turned_round(one.shots)) for one in probes]
    opposite = probe(method, turned, counts[1:], kept)
    return [
        np.concatenate([own[:1], mirrored(own[:1], own[1:], other)])
        for own, other in zip(told, opposite, strict=True)
    ]
