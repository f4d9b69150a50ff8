"""Groups of users (by age, place, education, kind, ...), and which of them are served worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo.evaluation.statistics import pooled_mean, unpaired_difference
from fspo.preferences.records import User


class Group(NamedTuple):
    """The results of a group of users beside everyone else's.

    Attributes:
        attribute: what the group has in common, such as "education".
        value: in which form, such as "primary school".
        users: how many there are in the group.
        mean: over all of the group's items, in the items' own unit.
        rest: the mean over everyone else's.
        low: the lower end of the 95% interval of `mean - rest`; nan if it is not known.
        high: its upper end.
    """

    attribute: str
    value: str
    users: int
    mean: float
    rest: float
    low: float
    high: float


def groups_of(users: Sequence[User]) -> dict[str, dict[str, list[str]]]:
    """The users by attribute and value, for attributes that are a text or yes and no.

    Numbers and lists are no groups; an attribute in which no two users differ is left out.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for user in users:
        for attribute, value in user.attributes.items():
            if isinstance(value, str | bool) and value != "":
                members = groups.setdefault(attribute, {}).setdefault(str(value), [])
                members.append(user.user_id)
    return {name: dict(sorted(g.items())) for name, g in sorted(groups.items()) if len(g) > 1}


def compare_groups(
    values_by_user: Mapping[str, Sequence[float]],
    groups: Mapping[str, Mapping[str, Sequence[str]]],
    seed: int,
    resamples: int = 10_000,
    most: float | None = None,
) -> list[Group]:
    """Every group beside everyone else, with an interval that knows of the users of both sides.

    Everyone else is all users with items who are not in the group, whether or not they have that
    attribute. With fewer than two users on a side there is no interval; a group without items, or
    with nobody beside it, is left out.

    Args:
        values_by_user: each user's outcomes or hits; higher is better.
        groups: what `groups_of` gives.
        seed: of the bootstrap; every group's draws begin from it.
        resamples: how many times the users are drawn.
        most: of outcomes that are shares, 1 or 100; None for items of any size.
    """
    having = {user: values for user, values in values_by_user.items() if len(values)}
    found = []
    for attribute, by_value in groups.items():
        for value, members in by_value.items():
            own = {user: having[user] for user in members if user in having}
            rest = {user: values for user, values in having.items() if user not in own}
            if not own or not rest:
                continue
            gap = unpaired_difference(own, rest, np.random.default_rng(seed), resamples, most)
            means = pooled_mean(own), pooled_mean(rest)
            found.append(Group(attribute, value, len(own), *means, gap.low, gap.high))
    return found


def worse_served(compared: Sequence[Group]) -> list[Group]:
    """The groups whose interval of the difference lies below zero, the worst first.

    Of many groups that are served alike, one in forty is named by chance: a warning is a reason to
    look, not a finding.
    """
    worse = [group for group in compared if group.high < 0]  # never where it is nan
    return sorted(worse, key=lambda group: group.mean - group.rest)
