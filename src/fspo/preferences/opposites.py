"""Users who chose opposite ways, and the pairs of responses that two such users disagree over.

Real people seldom judge the same pair, but many judge the same responses. Where one of two users
chose `x` and rejected `y`, against whatever else these stood beside, and the other rejected `x` and
chose `y`, the first is taken to prefer `x` to `y`, and the other `y` to `x`. Among such pairs no
response is better than another before a user is known.

Most users differ from one another by chance, too. So responses are laid along the line on which
users differ most (the first principal component of who chose what), and pairs are kept that are
well apart on it, the way the two users are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.preferences.records import Preference, Preferences

LEAST = 4  # pairs that two users disagree over: fewer say too little of who they are
_APART = 0.5  # how far two responses of a pair are, in standard deviations of all
_MOST = 4000  # users who are compared with one another
_AT_ONCE = 4096  # responses, for the sake of memory
# Of power iteration. A quarter gave the same couples on Polis' votes, a half one other of 4,254 on
# choices between arguments.
_ROUNDS = 100

Response = tuple[str, str]  # the prompt, and what was answered
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Couple:
    """Two users who disagree, and over what.

    Attributes:
        one: a user.
        other: another.
        preferences: pairs as `one` prefers them, no response twice; `other` prefers the reverse.
    """

    one: str
    other: str
    preferences: Sequence[Preference]

    def drawn(self, generator: np.random.Generator) -> tuple[list[Preference], list[Preference]]:
        """The same pairs in the same random order, as `one` and as `other` prefers them."""
        order = generator.permutation(len(self.preferences))
        pairs = [self.preferences[place] for place in order]
        return pairs, [p.reversed() for p in pairs]


class Axis(NamedTuple):
    """The places of everybody on the line on which users differ most.

    Attributes:
        users: float64 (users,).
        responses: response -> its place, in standard deviations.
    """

    users: Floats
    responses: Mapping[Response, float]


class Side(NamedTuple):
    """The responses that a user chose more often than rejected, and the reverse."""

    chosen: set[Response]
    rejected: set[Response]


def opposites(preferences: Preferences, generator: np.random.Generator) -> list[Couple]:
    """All couples of users who disagree over `LEAST` pairs or more, in the order of the users.

    Args:
        preferences: who chose what.
        generator: draws whom to compare, where there are very many users, and where the search
            for the axis begins.
    """
    spelled = _one_spelling(preferences)
    users = list(preferences.by_user)
    users = [users[place] for place in sorted(generator.permutation(len(users))[:_MOST])]
    sides = [_side(preferences.by_user[user], spelled) for user in users]
    axis = main_axis(sides, generator)
    opposed = _opposed(sides)
    found = []
    for one, other in np.argwhere(np.triu(np.minimum(opposed, opposed.T) >= LEAST, 1)):
        way = np.sign(axis.users[one] - axis.users[other])
        pairs = list(_pairs(sides[one], sides[other], axis.responses, way))
        if len(pairs) >= LEAST:
            found.append(Couple(users[one], users[other], pairs))
    return found


def main_axis(sides: Sequence[Side], generator: np.random.Generator) -> Axis:
    """The first principal component of the users' choices, by power iteration.

    A response that a user chose is 1 and one that the user rejected -1, less the mean of all who
    judged it; what was not judged is 0, which draws what few people judged towards the middle.
    """
    judged = [
        (user, response, sign)
        for user, side in enumerate(sides)
        for sign, responses in ((1.0, side.chosen), (-1.0, side.rejected))
        for response in sorted(responses)
    ]
    places = {response: place for place, response in enumerate(sorted({r for _, r, _ in judged}))}
    row = np.array([user for user, *_ in judged], dtype=np.int64)
    column = np.array([places[response] for _, response, _ in judged], dtype=np.int64)
    value = np.array([sign for *_, sign in judged], dtype=np.float64)
    count = np.bincount(column, minlength=len(places))
    value -= (np.bincount(column, value, len(places)) / np.maximum(count, 1))[column]
    along = generator.standard_normal(len(places))
    of_users = np.zeros(len(sides))
    for _ in range(_ROUNDS):
        of_users[:] = np.bincount(row, value * along[column], len(sides))
        along = np.bincount(column, value * of_users[row], len(places)).astype(np.float64)
        along /= np.linalg.norm(along) or 1.0
    spread = along.std() if len(along) and along.std() > 0 else 1.0
    return Axis(of_users, {response: along[place] / spread for response, place in places.items()})


def _one_spelling(preferences: Preferences) -> dict[Response, Response]:
    """For each response, as it is compared with others, the way in which it is written first."""
    spelled: dict[Response, Response] = {}
    prompts: dict[str, str] = {}
    for _, p in preferences:
        prompt = prompts.setdefault(p.plain[0], p.prompt)
        spelled.setdefault((p.plain[0], p.plain[1]), (prompt, p.chosen))
        spelled.setdefault((p.plain[0], p.plain[2]), (prompt, p.rejected))
    return spelled


def _side(rows: Sequence[Preference], spelled: Mapping[Response, Response]) -> Side:
    balance: Counter[Response] = Counter()
    for p in rows:
        balance[spelled[p.plain[0], p.plain[1]]] += 1
        balance[spelled[p.plain[0], p.plain[2]]] -= 1
    return Side(
        {response for response, value in balance.items() if value > 0},
        {response for response, value in balance.items() if value < 0},
    )


def _opposed(sides: Sequence[Side]) -> NDArray[np.float32]:
    """Returns how many responses each user chose that each other one rejected, (users, users)."""
    chosen, rejected = [side.chosen for side in sides], [side.rejected for side in sides]
    responses = sorted(set().union(*chosen) & set().union(*rejected))
    count = np.zeros((len(sides), len(sides)), dtype=np.float32)
    for start in range(0, len(responses), _AT_ONCE):
        places = {r: place for place, r in enumerate(responses[start : start + _AT_ONCE])}
        count += _marked(chosen, places) @ _marked(rejected, places).T
    return count


def _marked(
    responses: Sequence[set[Response]], places: Mapping[Response, int]
) -> NDArray[np.float32]:
    marked = np.zeros((len(responses), len(places)), dtype=np.float32)
    for user, own in enumerate(responses):
        marked[user, [places[r] for r in own if r in places]] = 1
    return marked


def _pairs(
    one: Side, other: Side, along: Mapping[Response, float], way: float
) -> Iterator[Preference]:
    """Of each prompt's contested responses, the farthest one way with the farthest the other."""
    contested: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for prompt, text in sorted(one.chosen & other.rejected):
        contested[prompt][0].append(text)
    for prompt, text in sorted(one.rejected & other.chosen):
        contested[prompt][1].append(text)
    for prompt, (chosen, rejected) in contested.items():
        place = {text: way * along[prompt, text] for text in (*chosen, *rejected)}
        chosen.sort(key=lambda text: -place[text])
        rejected.sort(key=lambda text: place[text])
        # Not strict: what is left over has nothing to be paired with.
        for liked, disliked in zip(chosen, rejected, strict=False):
            if place[liked] - place[disliked] >= _APART:
                yield Preference(prompt, liked, disliked)
