"""Who sees what: balanced, at random, and the same again."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.preferences.records import Preference
from fspo.study.assignment import assign, comparisons_of
from fspo.study.definition import Study
from fspo.study.reading import Pools

TEXT = {"title": "t", "consent": "c", "instructions": "i", "judging": "j", "thanks": "t"}
CHECKS = [
    {"stage": stage, "question": f"{stage} check", "right": "yes", "wrong": "no"}
    for stage in ("label", "judge")
]
LANGUAGE = TEXT | {
    "pairs_from": "elsewhere",
    "questions_from": "elsewhere",
    "practice": [{"question": "p", "answers": ["a", "b"]}],
    "checks": CHECKS,
}


def study(comparisons=1, questions=11, pairs=8, seed=0):
    methods = {f"m{n}": {"answers": "plain"} for n in range(comparisons + 1)}
    return Study.model_validate({
        "name": "s", "contact": "c", "seed": seed, "label_pairs": pairs,
        "judge_questions": questions, "methods": methods, "languages": {"en": LANGUAGE},
        "comparisons": [["m0", f"m{n}"] for n in range(1, comparisons + 1)],
    })  # fmt: skip


# Five questions stand in both pools.
POOLS = Pools(
    [Preference(f"q{n}", f"good {n}", f"bad {n}", f"row {n}") for n in range(30)],
    [f"q{n}" for n in range(25, 70)],
)


def items(number=0, **settings_):
    return assign(study(**settings_), POOLS, "en", number)


@given(st.integers(1, 6), st.integers(1, 25), st.integers(1, 60))
def test_comparisons_are_balanced_within_and_across_participants(count, questions, people):
    total = Counter(dict.fromkeys(range(count), 0))
    for number in range(people):
        own = Counter(dict.fromkeys(range(count), 0)) + Counter()
        own.update(comparisons_of(count, questions, number))
        assert sum(own.values()) == questions
        values = [own[n] for n in range(count)]
        assert max(values) - min(values) <= 1
        total.update(own)
    assert max(total.values()) - min(total.values()) <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10_000), st.integers(1, 4))
def test_the_same_again_and_what_was_asked_for(seed, number, comparisons):
    own = items(number, seed=seed, comparisons=comparisons)
    assert own == items(number, seed=seed, comparisons=comparisons)
    assert [i.place for i in own] == list(range(len(own)))
    assert [i.stage for i in own] == ["practice"] + ["label"] * 9 + ["judge"] * 12
    real = [i for i in own if i.stage != "practice" and not i.right_choice]
    assert len({i.question for i in real}) == 19
    judged = Counter(frozenset((i.left_method, i.right_method)) for i in real if i.left_method)
    assert len(judged) == comparisons
    assert max(judged.values()) - min(judged.values()) <= 1
    for item in own:
        if item.right_choice:
            assert getattr(item, item.right_choice) == "yes"
            assert own[item.place - 1].stage == item.stage  # never the first of its stage
        if item.stage == "label" and not item.right_choice:
            assert {item.left[:4], item.right[:3]} <= {"good", "bad", "bad ", "goo"}


def test_sides_are_fair_coins():
    drawn = [i for number in range(400) for i in items(number)]
    for of in (
        [i.left_method == "m0" for i in drawn if i.left_method],
        [i.left.startswith("good") for i in drawn if i.stage == "label" and not i.right_choice],
        [i.right_choice == "left" for i in drawn if i.right_choice],
    ):
        # Five standard deviations of a fair coin.
        assert abs(sum(of) - len(of) / 2) < 5 * (len(of) ** 0.5) / 2


def test_one_side_tells_nothing_of_the_next():
    pairs = []
    for number in range(400):
        sides = [i.left_method == "m0" for i in items(number) if i.left_method]
        pairs += list(pairwise(sides))
    same = sum(one == other for one, other in pairs)
    assert same / len(pairs) == pytest.approx(0.5, abs=0.04)


def test_another_seed_or_number_draws_anew():
    assert len({tuple(items(n, seed=s)) for n in range(5) for s in range(5)}) == 25
