"""Decides which of two answers a user prefers, and keeps only what the user is sure about.

A pair is one title and two of its answers. A user is sure of a pair if one answer is worth more by
at least a margin, and worth liking: not the lesser evil. Every pair is put to two users who are
sure of opposite things, so that no answer is better than another before a user is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from fspo.preferences.records import Preference, User
from fspo.synthesis.coupling import couple
from fspo.synthesis.responses import Answer


class Taste(NamedTuple):
    """When a user prefers one answer to another, and says so.

    Attributes:
        utility: how well the user with some attributes likes a text.
        margin: the least difference in utility that a user is sure about.
        liked: the least utility of an answer that a user likes.
    """

    utility: Callable[[Mapping[str, Any], str], float]
    margin: float
    liked: float

    def gap(self, user: User, chosen: Answer, rejected: Answer) -> float:
        """Returns by how much `user` likes one answer more than the other."""
        return self.utility(user.attributes, chosen.text) - self.utility(
            user.attributes, rejected.text
        )

    def is_sure(self, user: User, chosen: Answer, rejected: Answer) -> bool:
        """Returns whether `user` likes one answer, and clearly more than the other."""
        likes = self.utility(user.attributes, chosen.text) >= self.liked
        return likes and self.gap(user, chosen, rejected) >= self.margin


def label(
    users: Sequence[User],
    answers: Mapping[str, Sequence[Answer]],
    *,
    prompt: Callable[[str], str],
    taste: Taste,
    limit: int,
    seed: Sequence[int],
) -> dict[str, list[Preference]]:
    """At most `limit` preferences of each user, one for a title, on titles in random order.

    Users come in fours, which fall into two couples, anew for each title. Both of a couple are
    asked about the same pair, one over which they disagree; a title without such pairs is skipped.

    Args:
        users: the users of one split, four different tastes side by side.
        answers: the answers to each title of that split.
        prompt: the question about a title.
        taste: when a user prefers an answer.
        limit: the most preferences of a user.
        seed: what the draw of titles, couples and pairs depends on.
    """
    titles = list(answers)
    by_user: dict[str, list[Preference]] = {user.user_id: [] for user in users}
    for start in range(0, len(users), 4):
        four = users[start : start + 4]
        generator = np.random.default_rng([*seed, start // 4])
        asked = 0
        for place in generator.permutation(len(titles)):
            title = titles[place]
            choices = _choices(four, answers[title], taste, generator) if asked < limit else []
            for user, chosen, rejected in choices:
                gap = taste.gap(user, chosen, rejected)
                preference = _preference(title, prompt(title), chosen, rejected, gap)
                by_user[user.user_id].append(preference)
            asked += bool(choices)
    return by_user


def _choices(
    four: Sequence[User], answers: Sequence[Answer], taste: Taste, generator: np.random.Generator
) -> list[tuple[User, Answer, Answer]]:
    """(user, chosen, rejected) for each of four users, or nothing if they cannot be coupled."""
    coupled = couple(lambda a, b: _disputed(four[a], four[b], answers, taste), generator)
    return [
        choice
        for one, other, (x, y) in coupled
        for choice in ((four[one], x, y), (four[other], y, x))
    ]


def _disputed(
    one: User, other: User, answers: Sequence[Answer], taste: Taste
) -> list[tuple[Answer, Answer]]:
    """The pairs of which `one` surely prefers the first answer and `other` the second."""
    return [
        (x, y)
        for x, y in permutations(answers, 2)
        if taste.is_sure(one, x, y) and taste.is_sure(other, y, x)
    ]


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
