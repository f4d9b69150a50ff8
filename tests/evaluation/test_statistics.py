import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.evaluation import statistics
from fspo.evaluation.statistics import bootstrap_ci, mean_by_user, pooled_mean, win_rate

UNEVEN = {"ann": [1.0, 0.0, 0.5], "ben": [1.0], "cem": [0.0, 0.0], "dia": [1.0, 1.0, 1.0, 0.0]}

several_users = st.dictionaries(
    st.text(max_size=3),
    st.lists(st.floats(-100, 100), min_size=1, max_size=5),
    min_size=2,
    max_size=6,
)


def naive_ci(values_by_user: Mapping[str, Sequence[float]], seed: int, resamples: int):
    generator = np.random.default_rng(seed)
    users = list(values_by_user)
    means = []
    for _ in range(resamples):
        drawn = [users[index] for index in generator.integers(len(users), size=len(users))]
        items = [value for user in drawn for value in values_by_user[user]]
        means.append(sum(items) / len(items))
    return np.percentile(means, 2.5), np.percentile(means, 97.5)


def test_interval_equals_a_loop_over_resamples():
    found = bootstrap_ci(UNEVEN, np.random.default_rng(3), resamples=500)
    assert found == pytest.approx(naive_ci(UNEVEN, seed=3, resamples=500))


def test_working_in_blocks_changes_nothing(monkeypatch):
    whole = bootstrap_ci(UNEVEN, np.random.default_rng(5), resamples=1001)
    monkeypatch.setattr(statistics, "_DRAWS_PER_BLOCK", 30)
    assert bootstrap_ci(UNEVEN, np.random.default_rng(5), resamples=1001) == whole


def test_two_users_who_disagree_span_everything():
    # The mean is 0, 1/2 or 1 with probabilities 1/4, 1/2 and 1/4.
    generator = np.random.default_rng(0)
    assert bootstrap_ci({"a": [0.0] * 7, "b": [1.0] * 7}, generator) == (0.0, 1.0)


def test_many_users_come_close_to_the_normal_interval():
    values = np.random.default_rng(1).normal(size=900)
    low, high = bootstrap_ci(
        {str(user): [value] for user, value in enumerate(values)}, np.random.default_rng(2)
    )
    half_width = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_repeating_a_users_items_adds_no_certainty():
    once = {str(user): [float(user % 2)] for user in range(20)}
    often = {user: values * 50 for user, values in once.items()}
    assert bootstrap_ci(often, np.random.default_rng(0)) == pytest.approx(
        bootstrap_ci(once, np.random.default_rng(0))
    )


@settings(max_examples=50, deadline=None)
@given(several_users, st.integers(0, 1000))
def test_interval_lies_within_the_user_means_and_moves_with_the_values(values, seed):
    low, high = bootstrap_ci(values, np.random.default_rng(seed), resamples=200)
    means = mean_by_user(values).values()
    assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9
    moved = {user: [value + 7 for value in items] for user, items in values.items()}
    found = bootstrap_ci(moved, np.random.default_rng(seed), resamples=200)
    assert found == pytest.approx((low + 7, high + 7), abs=1e-9)


def test_users_without_items_are_left_out():
    assert bootstrap_ci({**UNEVEN, "eve": []}, np.random.default_rng(3)) == bootstrap_ci(
        UNEVEN, np.random.default_rng(3)
    )
    assert mean_by_user({"ann": [1.0, 0.0], "eve": []}) == {"ann": 0.5}


def test_one_user_gives_no_interval():
    low, high = bootstrap_ci({"ann": [0.0, 1.0]}, np.random.default_rng(0))
    assert math.isnan(low)
    assert math.isnan(high)


def test_nothing_to_average_is_said_plainly():
    for call in (
        lambda: bootstrap_ci({"ann": []}, np.random.default_rng(0)),
        lambda: pooled_mean({}),
        lambda: win_rate([]),
    ):
        with pytest.raises(FspoError, match="nothing to average"):
            call()


def test_win_rate_counts_a_tie_as_half():
    assert win_rate([1, 0.5, 0, 1]) == 62.5
    assert win_rate([0.5] * 3) == 50.0


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1))
def test_win_rates_of_the_two_sides_add_up_to_a_hundred(outcomes):
    other_side = [1 - outcome for outcome in outcomes]
    assert win_rate(outcomes) + win_rate(other_side) == pytest.approx(100)


@pytest.mark.parametrize("wrong", [-1.0, 2.0, math.nan])
def test_an_outcome_that_is_none_is_named(wrong):
    with pytest.raises(FspoError, match="outcome 2"):
        win_rate([1.0, wrong])


def test_pooled_mean_weighs_items_not_users():
    assert pooled_mean({"ann": [1.0], "ben": [0.0, 0.0, 0.0]}) == 0.25
