"""Groups: who is in which, and who is named as served worse."""

import math

import numpy as np
import pytest

from fspo.evaluation.groups import compare_groups, groups_of, worse_served
from fspo.evaluation.statistics import pooled_mean
from fspo.preferences.records import User

USERS = [
    User("a", attributes={"place": "north", "wants": {"words": 3}, "age": 40, "club": True}),
    User("b", attributes={"place": "south", "age": 50, "club": False, "kind": "seed"}),
    User("c", attributes={"place": "south", "kind": "seed"}),
    User("d"),
]


def test_texts_and_yes_and_no_make_groups():
    assert groups_of(USERS) == {
        "club": {"False": ["b"], "True": ["a"]},
        "place": {"north": ["a"], "south": ["b", "c"]},
    }


def test_a_group_stands_beside_everyone_else():
    values = {"a": [1.0, 0.0], "b": [0.0], "c": [0.5, 0.5, 1.0], "d": [1.0], "e": []}
    found = {(g.attribute, g.value): g for g in compare_groups(values, groups_of(USERS), seed=0)}
    south = found["place", "south"]
    assert (south.users, south.mean) == (2, pooled_mean({"b": values["b"], "c": values["c"]}))
    assert south.rest == pooled_mean({"a": values["a"], "d": values["d"]})
    assert south.low <= south.mean - south.rest <= south.high
    for value in ("True", "False"):
        assert math.isnan(found["club", value].low)


def test_who_is_served_worse_is_named_and_nobody_else():
    generator = np.random.default_rng(0)
    values = {f"{side}{n}": [] for side in ("east", "west", "far") for n in range(40)}
    for user, own in values.items():
        own += generator.normal(60 - 20 * user.startswith("far"), 10, 5).tolist()
    groups = {"place": {s: [u for u in values if u.startswith(s)] for s in ("east", "west", "far")}}
    groups["taste"] = {"odd": list(values)[1::2], "even": list(values)[::2]}
    groups["lonely"] = {"one": ["far0"]}
    compared = compare_groups(values, groups, seed=1)
    assert [(group.attribute, group.value) for group in worse_served(compared)] == [
        ("place", "far")
    ]
    assert len(compared) == 6


def test_the_worst_comes_first():
    values = {f"u{n}": [float(n // 4)] * 3 for n in range(12)}
    users = list(values)
    groups = {"level": {"low": users[:4], "middle": users[4:8], "high": users[8:]}}
    assert [g.value for g in worse_served(compare_groups(values, groups, seed=0))] == ["low"]
    worse = {"x": {"lowest": users[:4], "lower half": users[:8]}}
    assert [g.value for g in worse_served(compare_groups(values, worse, seed=0))] == [
        "lowest",
        "lower half",
    ]


def test_a_group_without_items_or_with_nobody_beside_it_is_left_out():
    values = {"a": [1.0], "b": [0.0], "e": []}
    groups = {"x": {"all": ["a", "b"], "empty": ["e"], "unknown": ["z"]}}
    assert compare_groups(values, groups, seed=0) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_intervals(seed):
    values = {f"u{n}": [float(n % 3)] for n in range(9)}
    groups = {"x": {"first": list(values)[:4]}}
    assert compare_groups(values, groups, seed) == compare_groups(values, groups, seed)
