"""Users who chose opposite ways, and the pairs of responses that two such users disagree over.

Real people seldom judge the same pair, but many judge the same responses. Where one of two users
chose `x` and rejected `y`, against whatever else these stood beside, and the other rejected `x` and
chose `y`, the first is taken to prefer `x` to `y`, and the other `y` to `x`. Among such pairs no
response is better than another before a user is known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fspo.preferences.records import Preference, Preferences

LEAST = 4  # pairs that two users disagree over: fewer say too little of who they are
_MOST = 4000  # users who are compared with one another
_AT_ONCE = 4096  # responses, for the sake of memory

Response = tuple[str, str]  # the prompt, and what was answered
Sides = dict[str, set[Response]]
Counts = NDArray[np.float32]


@dataclass(frozen=True)
class Couple:
    """Two users who disagree.

    Attributes:
        one: a user.
        other: another.
        contested: prompt -> the responses that `one` chose and `other` rejected, and those that
            `one` rejected and `other` chose.
    """

    one: str
    other: str
    contested: Mapping[str, tuple[list[str], list[str]]]

    def __len__(self) -> int:
        """How many pairs the two can disagree over, with each response in one of them."""
        return sum(min(len(chosen), len(rejected)) for chosen, rejected in self.contested.values())

    def pairs(self, generator: np.random.Generator) -> list[Preference]:
        """Pairs of contested responses as `one` prefers them, drawn and in random order."""
        drawn = []
        for prompt, (chosen, rejected) in self.contested.items():
            first, second = generator.permutation(len(chosen)), generator.permutation(len(rejected))
            # Not strict: what is left over has nothing to be paired with.
            for one, other in zip(first, second, strict=False):
                drawn.append(Preference(prompt, chosen[one], rejected[other]))
        return [drawn[place] for place in generator.permutation(len(drawn))]


def opposites(preferences: Preferences, generator: np.random.Generator) -> list[Couple]:
    """All couples of users who disagree over `LEAST` pairs or more, in the order of the users.

    Args:
        preferences: who chose what.
        generator: draws whom to compare, where there are very many users.
    """
    chosen, rejected = _sides(preferences)
    users = list(preferences.by_user)
    users = [users[place] for place in sorted(generator.permutation(len(users))[:_MOST])]
    opposed = _opposed([chosen[user] for user in users], [rejected[user] for user in users])
    either = np.argwhere(np.triu(np.minimum(opposed, opposed.T) >= LEAST, 1))
    found = [
        Couple(one, other, _contested(one, other, chosen, rejected))
        for one, other in ((users[i], users[j]) for i, j in either)
    ]
    return [couple for couple in found if len(couple) >= LEAST]


def _opposed(chosen: Sequence[set[Response]], rejected: Sequence[set[Response]]) -> Counts:
    """How many responses each user chose that each other one rejected, float32 (users, users)."""
    responses = sorted(set().union(*chosen) & set().union(*rejected))
    count = np.zeros((len(chosen), len(chosen)), dtype=np.float32)
    for start in range(0, len(responses), _AT_ONCE):
        places = {r: place for place, r in enumerate(responses[start : start + _AT_ONCE])}
        count += _marked(chosen, places) @ _marked(rejected, places).T
    return count


def _marked(sides: Sequence[set[Response]], places: Mapping[Response, int]) -> Counts:
    marked = np.zeros((len(sides), len(places)), dtype=np.float32)
    for user, responses in enumerate(sides):
        marked[user, [places[r] for r in responses if r in places]] = 1
    return marked


def _sides(preferences: Preferences) -> tuple[Sides, Sides]:
    """What each user chose more often than rejected, and the reverse."""
    chosen: Sides = {}
    rejected: Sides = {}
    for user, rows in preferences.by_user.items():
        balance: Counter[Response] = Counter()
        for p in rows:
            balance[p.prompt, p.chosen] += 1
            balance[p.prompt, p.rejected] -= 1
        chosen[user] = {response for response, value in balance.items() if value > 0}
        rejected[user] = {response for response, value in balance.items() if value < 0}
    return chosen, rejected


def _contested(
    one: str, other: str, chosen: Sides, rejected: Sides
) -> dict[str, tuple[list[str], list[str]]]:
    found: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for prompt, text in sorted(chosen[one] & rejected[other]):
        found[prompt][0].append(text)
    for prompt, text in sorted(rejected[one] & chosen[other]):
        found[prompt][1].append(text)
    return dict(found)
