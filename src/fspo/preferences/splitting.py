"""Sets users and prompts apart that training does not see, in a dataset that is not split.

Who is set apart depends on the names alone, not on a seed: training and evaluation agree without
being told, and a longer file sets mostly the same ones apart.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from fspo.errors import FspoError, excerpt
from fspo.preferences.records import Preferences, User

SPLITS = ("train", "validation", "test")


class Split(NamedTuple):
    """A dataset in two parts.

    Attributes:
        train: users to learn from, on prompts to learn from.
        test: the other users with all of their preferences.
        unseen: the prompts that `train` does not hold; what test users are asked to predict is
            about these, where there are any.
    """

    train: Preferences
    test: Preferences
    unseen: frozenset[str]


def hold_out(preferences: Preferences, users: float, prompts: float) -> Split:
    """Splits a dataset.

    Args:
        preferences: of any users; how they are split already does not matter.
        users: the share of users to set apart, from 0 to 1.
        prompts: the share of prompts to set apart, from 0 to 1.

    Raises:
        FspoError: if nothing would be left on one side.
    """
    source = preferences.source or "preferences"
    apart = _share(preferences.by_user, users, f"{source}: --holdout-users", "users")
    spellings: dict[str, set[str]] = defaultdict(set)
    for _, p in preferences:
        spellings[p.plain[0]].add(p.prompt)
    # Of prompts that are the same to a reader, all are set apart or none.
    named = {min(own): own for own in spellings.values()}
    first = _share(named, prompts, f"{source}: --holdout-prompts", "prompts")
    unseen = frozenset(prompt for name in first for prompt in named[name])
    train = {
        user: kept
        for user, rows in preferences.by_user.items()
        if user not in apart and (kept := [p for p in rows if p.prompt not in unseen])
    }
    if not train:
        raise FspoError(
            f"{source}: no preference is left to learn from; hold out fewer users or prompts"
        )
    test = {user: rows for user, rows in preferences.by_user.items() if user in apart}
    known = preferences.users.values()
    return Split(
        Preferences(train, known, preferences.source),
        Preferences(test, known, preferences.source),
        unseen,
    )


def in_no_split(users: Iterable[User], own: str = "") -> list[str]:
    """Says in a line each which users are in no part of the data, where users are split.

    Args:
        users: those with preferences.
        own: the name of a split that is in use, beside train, validation and test.
    """
    names = {*SPLITS, *([own] if own else [])}
    of_split: dict[str, list[str]] = defaultdict(list)
    for user in users:
        of_split[user.split].append(user.user_id)
    every = sum(map(len, of_split.values()))
    told = []
    for split, outside in of_split.items():
        which = f"{len(outside):,} of {every:,} users (such as {excerpt(outside[0], 40)})"
        if not split and len(of_split) > 1:
            told.append(
                f"{which} are in no split: they are neither learned from nor asked; give them one "
                "in the table of users"
            )
        elif split and split not in names:
            near = get_close_matches(split.strip().lower(), sorted(names), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            told.append(
                f"{which} are in split {excerpt(split, 40)}, which is none of "
                f"{', '.join(sorted(names))}: {hint}They are neither learned from nor asked"
            )
    return told


def fewer(preferences: Preferences, users: int | None, each: int | None, seed: int) -> Preferences:
    """At most so many users, with at most so many preferences each: what less data would teach.

    Users who stand side by side stay together, since some datasets pair opposites. A user's first
    preferences are kept; more users of the same seed hold all of fewer ones.

    Args:
        preferences: of any users.
        users: how many; None for all of them.
        each: how many of each; None for all.
        seed: which users are kept depends on it.
    """
    names = list(preferences.by_user)
    if users is not None:
        places = 2 * np.random.default_rng([seed, 4]).permutation(-(-len(names) // 2))
        order = [place for first in places for place in (first, first + 1) if place < len(names)]
        names = [names[place] for place in sorted(order[:users])]
    rows = {name: preferences.by_user[name][:each] for name in names}
    return Preferences(rows, [preferences.users[name] for name in names], preferences.source)


def _share(names: Iterable[str], share: float, flag: str, what: str) -> frozenset[str]:
    """The `share` of `names` whose hashes come first."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = round(share * len(ranked))
    if share and not 0 < count < len(ranked):
        raise FspoError(
            f"{flag} {share:g} sets {count} of {len(ranked)} {what} apart; some have to be on "
            "either side. Take another share, or leave it out."
        )
    return frozenset(ranked[:count])
