"""Decides which of two answers a user prefers, and keeps only what the user is sure about.

A pair is one title and two of its answers. Its label is the sign of the difference in utility; a
user is sure of a pair if that difference is at least the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from fspo.preferences.records import Preference, User
from fspo.synthesis.responses import Answer

Utility = Callable[[Mapping[str, Any], str], float]


def label(
    users: Sequence[User],
    answers: Mapping[str, Sequence[Answer]],
    *,
    prompt: Callable[[str], str],
    utility: Utility,
    limit: int,
    margin: float,
    seed: Sequence[int],
) -> dict[str, list[Preference]]:
    """At most `limit` preferences of each user, one for a title, on titles in random order.

    Two users in a row, who are opposites, are asked about the same pairs: whatever one of them
    prefers, the other does not, so no answer is better than another before a user is known.

    Args:
        users: the users of one split, opposites side by side.
        answers: the answers to each title of that split.
        prompt: the question about a title.
        utility: how well the user with some attributes likes a text.
        limit: the most preferences of a user.
        margin: the least difference in utility that a user is sure about.
        seed: what the draw of titles and pairs depends on.
    """
    titles = list(answers)
    by_user: dict[str, list[Preference]] = {}
    for index, user in enumerate(users):
        generator = np.random.default_rng([*seed, index // 2])
        preferences: list[Preference] = []
        for place in generator.permutation(len(titles)):
            title = titles[place]
            sure = _sure_pairs(user, answers[title], utility, margin)
            if sure and len(preferences) < limit:
                chosen, rejected, gap = sure[generator.integers(len(sure))]
                preferences.append(_preference(title, prompt(title), chosen, rejected, gap))
        by_user[user.user_id] = preferences
    return by_user


def _sure_pairs(
    user: User, answers: Sequence[Answer], utility: Utility, margin: float
) -> list[tuple[Answer, Answer, float]]:
    """(chosen, rejected, difference) of every pair that the user is sure about."""
    pairs = []
    for first, second in combinations(answers, 2):
        gap = utility(user.attributes, first.text) - utility(user.attributes, second.text)
        if abs(gap) >= margin:
            pairs.append((first, second, gap) if gap > 0 else (second, first, -gap))
    return pairs


def _preference(
    title: str, prompt: str, chosen: Answer, rejected: Answer, gap: float
) -> Preference:
    extra = {
        "title": title,
        "gap": round(gap, 4),
        "chosen_persona": chosen.persona,
        "rejected_persona": rejected.persona,
    }
    return Preference(prompt, chosen.text, rejected.text, extra=extra)
