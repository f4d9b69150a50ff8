"""Results: by hand, and against the paper's own numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fspo.evaluation.statistics import binomial_p
from fspo.study.analysis import analyze, consistency, in_words
from fspo.study.records import ItemRecord, PersonRecord, Records

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def study(start, definition):
    definition["exclude"] = {"failed_checks": 0, "unfinished": True, "late": True}
    return start(definition).study


def judged(person, place, won, seconds=10.0, **more):
    sides = {"left_method": "personal", "right_method": "base"}
    choice = {True: "left", False: "right", None: ""}[won]
    given_ = {"right_choice": "", "skipped": None} | sides | more
    return ItemRecord(
        participant=person, place=place, stage="judge", question="q", left="l", right="r",
        source="", shown=MOMENT, choice=choice, seconds=seconds if choice else None,
        answered=MOMENT if choice else None, **given_,
    )  # fmt: skip


def person(number, **replies):
    moments = dict.fromkeys(("instructed", "labeled", "introduced", "finished"), MOMENT)
    return PersonRecord(number, "en", MOMENT, MOMENT, **moments, replies=replies)


def records(*people):
    """Each person's wins, by number."""
    items = [judged(n, p, won) for n, wins in enumerate(people) for p, won in enumerate(wins)]
    return Records([person(n) for n in range(len(people))], items, {}, {})


def test_wins_interval_and_tests(study):
    found = analyze(study, records([1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]))
    [one] = found["comparisons"]
    assert (one["wins"], one["answers"], one["win_rate"]) == (10, 16, 62.5)
    assert one["low"] < 62.5 < one["high"]
    assert one["binomial_p"] == pytest.approx(binomial_p(10, 16))
    assert (one["people_who_prefer_it"], one["people_who_differ"]) == (2, 3)
    assert one["people_p"] == pytest.approx(0.5)
    assert "62.5% (" in in_words(found)


def test_who_is_left_out_is_said_before_the_results(study):
    found = records([1, 1, 1], [1, 1, None], [1, 1, 1], [0, 0, 0])
    check = judged(2, 3, True, right_choice="right", left_method="", right_method="")
    slow = judged(3, 3, True, seconds=601)
    skipped = judged(3, 4, None, skipped=MOMENT + timedelta(minutes=1))
    found = Records(found.people, [*found.items, check, slow, skipped], {"withdrew": 2}, {})
    result = analyze(study, found)
    assert result["participants"] == {
        "begun": 4, "analyzed": 2, "left_out": {"unfinished": 1, "failed_checks": 1}
    }  # fmt: skip
    assert result["answers"] == {"judged": 7, "late_left_out": 1}
    [one] = result["comparisons"]
    assert (one["wins"], one["answers"]) == (3, 6)
    words = in_words(result)
    assert words.startswith("Left out, as was set before the study: participants who failed more")
    assert "1 unfinished, 1 failed checks" in words
    assert list(result).index("exclusion_rules") < list(result).index("comparisons")


def test_sides_do_not_matter(study):
    found = records([1, 0, 1, 1])
    turned = [
        judged(0, i.place, i.choice == "right", left_method="base", right_method="personal")
        for i in found.items
    ]
    one = analyze(study, found)["comparisons"]
    other = analyze(study, Records(found.people, turned, {}, {}))["comparisons"]
    assert one == other


def test_groups_are_of_choices_and_never_of_free_text(study):
    found = records([1, 1], [1, 0], [0, 0], [0, 1])
    ages = ["18-29", "18-29", "30-49", "30-49"]
    people = [person(n, age=age, remarks=f"r{n}") for n, age in enumerate(ages)]
    [one] = analyze(study, Records(people, found.items, {}, {}))["comparisons"]
    groups = {(g["attribute"], g["value"]): g for g in one["groups"]}
    assert set(groups) == {("age", "18-29"), ("age", "30-49")}
    assert groups["age", "18-29"]["mean"] == 0.75


def test_nothing_yet(study):
    result = analyze(study, Records([], [], {}, {}))
    assert "nothing has been judged yet" in in_words(result)


def test_consistency_by_hand():
    # Means 1, 1/2, 0: MSB = 2 (1/4 + 0 + 1/4) / 2 = 1/2; MSW = (0 + 1/2 + 0) / 3 = 1/6.
    found = consistency({"a": [1, 1], "b": [1, 0], "c": [0, 0]})
    assert found.icc == pytest.approx((1 / 2 - 1 / 6) / (1 / 2 + 1 / 6))
    assert found.reliability == pytest.approx(1 - (1 / 6) / (1 / 2))
    assert consistency({"a": [1, 1], "b": [0, 0]}).icc == pytest.approx(1)
    for few in ({}, {"a": [1, 0]}, {"a": [1], "b": [0]}, {"a": [1, 1], "b": [1, 1]}):
        assert math.isnan(consistency(few).icc)


@settings(max_examples=100)
@example({"a": [1.0], "b": [1.0], "c": [0.0, 1.0]})  # below -1, with 1.25 answers each
@given(st.dictionaries(st.text(max_size=3), st.lists(st.sampled_from([0.0, 1.0]), max_size=6)))
def test_consistency_is_a_correlation_or_nothing(outcomes):
    icc = consistency(outcomes).icc
    assert math.isnan(icc) or -1 - 1e-9 <= icc <= 1 + 1e-9


def test_the_papers_p_value():
    """68.2% of 50 people's 11 answers would be far less probable than 5.65e-9, see the docs.

    That p-value is what 68.2% gives for 245 answers, to its order, or 314 of 500 exactly.
    """
    published = 5.65e-9
    assert binomial_p(375, 550) == pytest.approx(4.69e-18, rel=0.01)
    assert binomial_p(188, 275) == pytest.approx(5.36e-10, rel=0.01)
    assert 1 / 2 < binomial_p(167, 245) / published < 2
    assert binomial_p(314, 500) == pytest.approx(published, rel=0.001)
