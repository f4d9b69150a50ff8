"""How many labels it takes to know a user: asked for by expected gain, or in random order.

    policy = InContext("FSPO", load_policy("runs/reviews"), Sampling())
    people = load_preferences("reviews")
    probes = draw_probes(people.of("test"), users, shots=16, targets=6, draws=1, seed=0)
    about = pairs_about(people.of("train"), 8, seed=0)
    labels_needed(policy, probes, about, labels=8, accuracy_to_reach=0.8)

Answers are simulated: they are what a dataset's users chose, looked at when a pair is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fspo.console import track
from fspo.errors import FspoError
from fspo.evaluation.probing import LogOdds, Probe, correct
from fspo.evaluation.summaries import accuracy, by_user, summary
from fspo.methods.asking import next_pair
from fspo.methods.method import Predictor
from fspo.preferences.records import Preference, Preferences, without_repetition


def pairs_about(preferences: Preferences, most: int, seed: int) -> list[Preference]:
    """Draws pairs, at most so many, for predictions to become better on; nobody's labels are used.

    They should be pairs that users are not asked about, such as those of training users.
    """
    rows = [preference for _, preference in preferences]
    order = np.random.default_rng(seed).permutation(len(rows))
    return without_repetition([rows[index] for index in order], most)


def labels_needed(
    predictor: Predictor,
    probes: Sequence[Probe],
    about: Sequence[Preference],
    *,
    labels: int,
    accuracy_to_reach: float,
    seed: int = 0,
    shortlist: int = 8,
) -> dict[str, Any]:
    """Compares asking by expected gain with asking in random order, on the same users and targets.

    Args:
        predictor: predicts, and says what to ask.
        probes: each user's `shots` are the pairs that can be asked, in random order, as
            `draw_probes` draws them: more than `labels`, or there is no choice at the end.
            Accuracy is measured on the `targets`.
        about: pairs that the expected gain looks at, the same for everybody.
        labels: how many pairs are asked.
        accuracy_to_reach: from 0 to 1.
        seed: of what decides between equal pairs, and of the bootstrap.
        shortlist: as in `next_pair`, where it says what a choice costs.

    Returns:
        For "random" and "asked" the accuracy after every number of labels, as
        `summaries.accuracy` gives it, and `labels_needed`: after how many the mean first reaches
        `accuracy_to_reach`, or None. `difference` is by how much "asked" is better after each
        number of labels, on the same pairs, with its interval over users.

    Raises:
        FspoError: if there are no probes, or one has fewer pairs than `labels`.
    """
    if not probes:
        raise FspoError("there are no probes; draw some from users with enough preferences")
    for probe in probes:
        if len(probe.shots) < labels:
            raise FspoError(
                f"user {probe.user.user_id!r}: has {len(probe.shots)} pairs that can be asked, and "
                f"labels is {labels}. Ask for fewer labels, or draw probes with more shots."
            )
    counts = range(labels + 1)
    found: dict[str, list[LogOdds]] = {"random": [], "asked": []}
    for number, probe in enumerate(track(probes, f"asking: {predictor.name}", len(probes))):
        generator = np.random.default_rng([seed, number])
        asked = _asked(predictor, probe, about, labels, generator, shortlist)
        for order, shots in (("random", probe.shots[:labels]), ("asked", asked)):
            found[order].append(predictor.log_odds(probe.user, shots, probe.targets, counts))
    by_order = {order: accuracy(probes, gaps, counts, seed) for order, gaps in found.items()}
    pairs = list(zip(found["asked"], found["random"], strict=True))
    return {
        "method": predictor.name,
        "pairs": min(len(probe.shots) for probe in probes),
        "accuracy_to_reach": accuracy_to_reach,
        **{
            order: {"labels_needed": _first_to_reach(measured, accuracy_to_reach)} | measured
            for order, measured in by_order.items()
        },
        "difference": {
            str(k): summary(
                by_user(probes, [correct(a)[k] - correct(r)[k] for a, r in pairs]),
                seed,
                "mean",
                signed=True,
            )
            for k in counts[1:]
        },
        "seed": seed,
    }


def _asked(
    predictor: Predictor,
    probe: Probe,
    about: Sequence[Preference],
    labels: int,
    generator: np.random.Generator,
    shortlist: int,
) -> list[Preference]:
    """The pairs in the order in which they are asked, each chosen after the answers before it."""
    left = list(probe.shots)
    asked: list[Preference] = []
    for _ in range(labels):
        index = next_pair(predictor, probe.user, asked, left, about, generator, shortlist)
        asked.append(left.pop(index))
    return asked


def _first_to_reach(measured: dict[str, Any], wanted: float) -> int | None:
    means = measured["by_shots"].items()
    return next((int(count) for count, mean in means if mean >= wanted), None)
