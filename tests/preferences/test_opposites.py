"""Couples who chose opposite ways: the axis against a decomposition, couples against a search."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference, Preferences
from fspo.preferences import opposites as module
from fspo.preferences.opposites import LEAST, Couple, Side, main_axis, opposites

texts = st.sampled_from([f"text {number}" for number in range(14)])
row = st.tuples(st.sampled_from(["p", "q"]), texts, texts).filter(lambda r: r[1] != r[2])
people = st.dictionaries(st.sampled_from("abcdef"), st.lists(row, min_size=8, max_size=20))


def balance(own: list[Preference], prompt: str, text: str) -> int:
    """How much more often somebody chose than rejected a response."""
    return sum((p.chosen == text) - (p.rejected == text) for p in own if p.prompt == prompt)


@pytest.mark.parametrize("at_once", [3, 4096])
@given(told=people)
def test_without_a_wish_for_clear_pairs_all_who_disagree_are_found(
    at_once: int, told: dict[str, list[tuple[str, str, str]]]
) -> None:
    data = Preferences({u: [Preference(*r) for r in rows] for u, rows in sorted(told.items())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        patch.setattr(module, "_APART", -np.inf)
        found = {(c.one, c.other): c for c in opposites(data, np.random.default_rng(0))}
    responses = {(p.prompt, text) for _, p in data for text in (p.chosen, p.rejected)}
    for one, other in combinations(sorted(data.by_user), 2):
        left, right = data.by_user[one], data.by_user[other]
        pairs = 0
        for prompt in ("p", "q"):
            signs = [
                (np.sign(balance(left, prompt, text)), np.sign(balance(right, prompt, text)))
                for of, text in responses
                if of == prompt
            ]
            pairs += min(signs.count((1, -1)), signs.count((-1, 1)))
        assert ((one, other) in found) == (pairs >= LEAST)
        if pairs >= LEAST:
            assert len(found[one, other].preferences) == pairs


@given(people)
def test_their_pairs_are_chosen_by_one_and_rejected_by_the_other(
    told: dict[str, list[tuple[str, str, str]]],
) -> None:
    data = Preferences({u: [Preference(*r) for r in rows] for u, rows in told.items()})
    for couple in opposites(data, np.random.default_rng(0)):
        used = [(p.prompt, t) for p in couple.preferences for t in (p.chosen, p.rejected)]
        assert len(couple.preferences) >= LEAST
        assert len(set(used)) == len(used)
        for p in couple.preferences:
            for user, liked, disliked in [
                (couple.one, p.chosen, p.rejected),
                (couple.other, p.rejected, p.chosen),
            ]:
                own = data.by_user[user]
                assert balance(own, p.prompt, liked) > 0 > balance(own, p.prompt, disliked)


def two_camps() -> Preferences:
    """Forty people in two camps, who judge six of ten statements each, and err now and then."""
    generator = np.random.default_rng(0)
    by_user = {}
    for person in range(40):
        left = [f"left {n}" for n in generator.permutation(10)[:6]]
        right = [f"right {n}" for n in generator.permutation(10)[:6]]
        rows = [Preference("q", a, b) for a, b in zip(left, right, strict=True)]
        turned = [generator.random() < 0.1 for _ in rows]
        by_user[f"{'lr'[person % 2]}{person:02}"] = [
            p.reversed() if (person % 2 == 1) != wrong else p
            for p, wrong in zip(rows, turned, strict=True)
        ]
    return Preferences(by_user)


def test_the_axis_is_the_first_principal_component() -> None:
    data = two_camps()
    statements = sorted({text for _, p in data for text in (p.chosen, p.rejected)})
    signs = np.array(
        [[balance(own, "q", text) for text in statements] for own in data.by_user.values()],
        dtype=np.float64,
    )
    judged = signs != 0
    centered = np.where(judged, signs - signs.sum(0) / judged.sum(0), 0)
    users, scale, responses = np.linalg.svd(centered)
    assert scale[0] > 1.1 * scale[1]

    sides = [
        Side({("q", p.chosen) for p in own}, {("q", p.rejected) for p in own})
        for own in data.by_user.values()
    ]
    axis = main_axis(sides, np.random.default_rng(1))
    found = np.array([axis.responses["q", text] for text in statements])
    assert found.std() == pytest.approx(1)
    assert abs(np.corrcoef(found, responses[0])[0, 1]) == pytest.approx(1, abs=1e-6)
    assert abs(np.corrcoef(axis.users, users[:, 0])[0, 1]) == pytest.approx(1, abs=1e-6)


def across(couple: Couple) -> list[bool]:
    return [p.chosen.split()[0] != p.rejected.split()[0] for p in couple.preferences]


def test_couples_come_from_either_end_and_disagree_along_the_axis() -> None:
    found = opposites(two_camps(), np.random.default_rng(0))
    assert len(found) > 20
    assert all({couple.one[0], couple.other[0]} == {"l", "r"} for couple in found)
    assert np.mean([each for couple in found for each in across(couple)]) > 0.95


def test_of_very_many_people_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Preference("q", f"a{n}", f"b{n}") for n in range(LEAST)]
    back = [p.reversed() for p in there]
    data = Preferences({f"u{n:02}": there if n % 2 else back for n in range(40)})
    assert len(opposites(data, np.random.default_rng(0))) == 400
    monkeypatch.setattr(module, "_MOST", 20)
    assert 0 < len(opposites(data, np.random.default_rng(0))) < 400
