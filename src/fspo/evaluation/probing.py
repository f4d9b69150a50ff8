"""Asks methods what users prefer, on the same pairs after every number of shots.

A probe is a user's shots and some of the same user's other choices, the targets. Since every
number of shots is tried on the same targets, what the shots add is a paired comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fspo.console import track
from fspo.evaluation.answer_cache import AnswerCache
from fspo.methods.method import Predictor
from fspo.preferences.records import Preference, Preferences, User, without_repetition

LogOdds = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """The shots of a user that a method is shown, in order, and the pairs that it is to predict."""

    user: User
    shots: Sequence[Preference]
    targets: Sequence[Preference]


def shot_counts(most: int) -> list[int]:
    """The numbers of shots that are tried: none, then doubling, and the most."""
    doubling = [2**k for k in range(most.bit_length()) if 2**k < most]
    return [0, *doubling, *([most] if most else [])]


def draw_probes(
    preferences: Preferences,
    users: Sequence[str],
    *,
    shots: int,
    targets: int,
    draws: int,
    seed: int,
    about: Collection[str] = (),
) -> list[Probe]:
    """Draws every user's probes; users without enough for `shots` and one target give none.

    Users with the same rows get the same draw, so that of two who dispute a pair, neither is easier
    to guess without a shot.

    Args:
        preferences: whose.
        users: which of them.
        shots: how many each probe has.
        targets: how many at most, fewer where shots would be missing otherwise; their prompts, or
            at least their responses, are not in the shots.
        draws: probes for each user.
        seed: what is drawn depends on it.
        about: prompts that targets are about; empty for any.
    """
    probes = []
    for user in users:
        rows = preferences.by_user[user]
        for draw in range(draws):
            order = np.random.default_rng([seed, draw]).permutation(len(rows))
            drawn = [rows[index] for index in order]
            wanted = [row for row in drawn if not about or row.prompt in about]
            found = _parted(drawn, wanted, shots, targets)
            if found:
                probes.append(Probe(preferences.users[user], *found))
    return probes


def _parted(
    drawn: Sequence[Preference], wanted: Sequence[Preference], shots: int, targets: int
) -> tuple[list[Preference], list[Preference]] | None:
    """So many shots, and as many of the wanted targets as these leave; None if they leave none."""
    for most in range(targets, 0, -1):
        asked = without_repetition(wanted, most)
        seen = without_repetition([row for row in drawn if row not in asked], shots, asked)
        if asked and len(seen) == shots:
            return seen, asked
    return None


def probe(
    method: Predictor,
    probes: Sequence[Probe],
    counts: Sequence[int],
    kept: AnswerCache | None = None,
) -> list[LogOdds]:
    """For each probe the method's log-odds for what the user chose, float64 (counts, targets).

    Args:
        method: who is asked.
        probes: what is shown and asked.
        counts: after how many of a probe's shots.
        kept: log-odds that are there already, and where new ones go.
    """
    found = []
    for one in track(probes, f"preferences: {method.name}", len(probes)):

        def say(one: Probe = one) -> list[list[float]]:
            gaps: list[list[float]] = method.log_odds(
                one.user, one.shots, one.targets, counts
            ).tolist()
            return gaps

        gaps = kept.get((one, list(counts)), say) if kept else say()
        found.append(np.array(gaps, np.float64))
    return found


def correct(gaps: LogOdds) -> LogOdds:
    """1 where the log-odds are for the chosen response, 0 where against it, a half at neither."""
    return (np.sign(gaps) + 1) / 2
