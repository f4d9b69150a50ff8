"""Couples who chose opposite ways, against a naive search for them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference, Preferences
from fspo.preferences import opposites as module
from fspo.preferences.opposites import LEAST, opposites

texts = st.sampled_from([f"text {number}" for number in range(14)])
row = st.tuples(st.sampled_from(["p", "q"]), texts, texts).filter(lambda r: r[1] != r[2])
people = st.dictionaries(st.sampled_from("abcdef"), st.lists(row, min_size=8, max_size=20))


def choice(own: list[Preference], prompt: str, text: str) -> int:
    """How much more often somebody chose than rejected a response."""
    return sum((p.chosen == text) - (p.rejected == text) for p in own if p.prompt == prompt)


@pytest.mark.parametrize("at_once", [3, 4096])
@given(people, st.integers(0, 5))
def test_couples_are_those_who_disagree_over_enough(
    at_once: int, told: dict[str, list[tuple[str, str, str]]], seed: int
) -> None:
    data = Preferences({u: [Preference(*r) for r in rows] for u, rows in sorted(told.items())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        found = {(c.one, c.other): c for c in opposites(data, np.random.default_rng(seed))}
    responses = {(p.prompt, text) for _, p in data for text in (p.chosen, p.rejected)}
    for one, other in combinations(sorted(data.by_user), 2):
        left, right = data.by_user[one], data.by_user[other]
        pairs = 0
        for prompt in ("p", "q"):
            signs = [
                (np.sign(choice(left, prompt, text)), np.sign(choice(right, prompt, text)))
                for of, text in responses
                if of == prompt
            ]
            pairs += min(signs.count((1, -1)), signs.count((-1, 1)))
        assert ((one, other) in found) == (pairs >= LEAST)
        if pairs >= LEAST:
            assert len(found[one, other]) == pairs


@given(people, st.integers(0, 5))
def test_their_pairs_are_chosen_by_one_and_rejected_by_the_other(
    told: dict[str, list[tuple[str, str, str]]], seed: int
) -> None:
    data = Preferences({u: [Preference(*r) for r in rows] for u, rows in told.items()})
    for couple in opposites(data, np.random.default_rng(0)):
        drawn = couple.pairs(np.random.default_rng(seed))
        used = [(p.prompt, text) for p in drawn for text in (p.chosen, p.rejected)]
        assert len(drawn) == len(couple)
        assert len(set(used)) == len(used)
        for p in drawn:
            for user, liked, disliked in [
                (couple.one, p.chosen, p.rejected),
                (couple.other, p.rejected, p.chosen),
            ]:
                own = data.by_user[user]
                assert choice(own, p.prompt, liked) > 0 > choice(own, p.prompt, disliked)


def test_of_very_many_people_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Preference("q", f"a{n}", f"b{n}") for n in range(LEAST)]
    back = [Preference(p.prompt, p.rejected, p.chosen) for p in there]
    data = Preferences({f"u{n:02}": there if n % 2 else back for n in range(40)})
    assert len(opposites(data, np.random.default_rng(0))) == 400
    monkeypatch.setattr(module, "_MOST", 20)
    assert 0 < len(opposites(data, np.random.default_rng(0))) < 400
