"""Sets of real people's choices, split: whom to learn from, and what new people are asked about.

The sets are the two of `real_people.py`, as folders in our format.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fspo.evaluation.probing import Probe, draw_probes
from fspo.preferences.opposites import LEAST, opposites
from fspo.preferences.reading import preference_rows
from fspo.preferences.records import Preference, Preferences, User

TEST_USERS = 0.25
UNSEEN = 0.2  # the share of statements, or of debates, that training does not see
SHOTS = 8
MANY = 16  # shots that those are asked about, too, who have made so many choices
DRAWS = 1  # of shots and targets, for each person
STATEMENTS = 6  # pairs of a person that every number of shots is tried on
ARGUMENTS = 3  # the same, where each is two paragraphs
COUPLES = 50  # at most, of new people who disagree


class Study(NamedTuple):
    """A set of real people's choices, split.

    Attributes:
        train: whom to learn from.
        probes: of new people, about what training has seen (`seen`) and what it has not (`unseen`),
            after up to `SHOTS` shots; of statements after up to `MANY`, too, and about those over
            which two new people disagree (`opposed`).
    """

    train: Preferences
    probes: dict[str, list[Probe]]


def polis(rows: Preferences, generator: np.random.Generator) -> Study:
    """Statements are split, so a person's pairs are made anew from statements of the same kind.

    Any statement that somebody agreed with makes a pair with any that the same person disagreed
    with; as in the source, each statement is used once.
    """
    statements = sorted({text for _, p in rows for text in (p.chosen, p.rejected)})
    hidden = set(_drawn(statements, UNSEEN, generator))
    visible = set(statements) - hidden
    seen = {u: _paired(own, visible, generator) for u, own in rows.by_user.items()}
    unseen = {u: _paired(own, hidden, generator) for u, own in rows.by_user.items()}
    test = sorted(_drawn(sorted(rows.by_user), TEST_USERS, generator))
    train = {user: pairs for user, pairs in seen.items() if user not in test and pairs}
    held_out = Preferences({user: seen[user] for user in test})
    about_seen, many = (_about_seen(held_out, test, shots) for shots in (SHOTS, MANY))
    about_unseen = [
        Probe(User(user), shots, unseen[user][:STATEMENTS])
        for user in test
        if unseen[user] and len(shots := seen[user][:SHOTS]) == SHOTS
    ]
    probes = {
        "seen": about_seen,
        "unseen": about_unseen,
        f"seen, {MANY} shots": many,
        "opposed": _of_couples(held_out),
    }
    return Study(Preferences(train), probes)


def _about_seen(held_out: Preferences, test: Sequence[str], shots: int) -> list[Probe]:
    """Of those who have all the shots, and all the statements besides."""
    probes = draw_probes(held_out, test, shots=shots, targets=STATEMENTS, draws=DRAWS, seed=0)
    return [probe for probe in probes if len(probe.targets) == STATEMENTS]


def _of_couples(held_out: Preferences) -> list[Probe]:
    """Either of two who disagree, with the same pairs: so no answer is likelier without shots."""
    generator = np.random.default_rng(0)
    couples = opposites(held_out, generator)
    probes = []
    for place in generator.permutation(len(couples))[:COUPLES]:
        couple = couples[place]
        for user, said in zip((couple.one, couple.other), couple.drawn(generator), strict=True):
            probes.append(Probe(User(user), said[: LEAST - 1], said[LEAST - 1 :]))
    return probes


def _paired(
    own: Sequence[Preference], kept: Collection[str], generator: np.random.Generator
) -> list[Preference]:
    liked = [p.chosen for p in own if p.chosen in kept]
    disliked = [p.rejected for p in own if p.rejected in kept]
    order = generator.permutation(len(disliked))
    # Not strict: what is left over has nothing to be paired with.
    pairs = zip(liked, [disliked[index] for index in order], strict=False)
    return [Preference(own[0].prompt, good, bad) for good, bad in pairs]


def arguments(rows: Preferences, generator: np.random.Generator) -> Study:
    """Debates are split; a person's shots may come from any of them, a target never does."""
    prompts = sorted({p.prompt for _, p in rows})
    debates = sorted({_debate(prompt) for prompt in prompts})
    hidden = set(_drawn(debates, UNSEEN, generator))
    about = {prompt for prompt in prompts if _debate(prompt) in hidden}
    test = set(_drawn(sorted(rows.by_user), TEST_USERS, generator))
    train = {
        user: kept
        for user, own in rows.by_user.items()
        if user not in test and (kept := [p for p in own if p.prompt not in about])
    }
    held_out = Preferences({user: rows.by_user[user] for user in sorted(test)})
    probes = {}
    for kind, asked in (("seen", set(prompts) - about), ("unseen", about)):
        probes[kind] = draw_probes(
            held_out,
            sorted(test),
            shots=SHOTS,
            targets=ARGUMENTS,
            draws=DRAWS,
            seed=0,
            about=asked,
        )
    return Study(Preferences(train), probes)


def _debate(prompt: str) -> str:
    return prompt.splitlines()[0]


def _drawn(names: Sequence[str], share: float, generator: np.random.Generator) -> list[str]:
    order = generator.permutation(len(names))
    return [names[index] for index in order[: round(share * len(names))]]


STUDIES: dict[str, Callable[[Preferences, np.random.Generator], Study]] = {
    "polis": polis,
    "arguments": arguments,
}


def read(path: Path) -> Preferences:
    """The choices, without the few between two texts that are the same."""
    by_user: dict[str, list[Preference]] = {}
    for user, preference in preference_rows(path):
        if preference.chosen != preference.rejected:
            by_user.setdefault(user, []).append(preference)
    return Preferences(by_user, source=str(path))
