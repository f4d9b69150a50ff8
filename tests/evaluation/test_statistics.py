import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.evaluation import statistics
from fspo.evaluation.statistics import (
    binomial_p,
    bootstrap_ci,
    mean_by_user,
    paired_difference,
    pooled_mean,
    unpaired_difference,
    win_rate,
    wins_of_decided,
)

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


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_binomial_test_is_the_sum_of_exact_fractions(counts):
    wins, n = counts
    exact = sum(Fraction(math.comb(n, k), 2**n) for k in range(wins, n + 1))
    assert binomial_p(wins, n) == pytest.approx(float(exact), rel=1e-12)


def test_a_binomial_test_of_cases_that_are_known():
    assert binomial_p(0, 0) == binomial_p(0, 7) == 1.0
    assert binomial_p(8, 8) == 1 / 256
    assert binomial_p(9, 10) == 11 / 1024
    assert binomial_p(5, 9) == 0.5


def test_a_binomial_test_of_very_many_comparisons():
    n = 100_000
    # By symmetry 1/2 + P(X = n/2) / 2, and by Stirling 1 / sqrt(pi n / 2) for the latter.
    assert binomial_p(n // 2, n) == pytest.approx(0.5 + 0.5 / math.sqrt(math.pi * n / 2), rel=1e-6)
    z = (50_500 - 0.5 - n / 2) / math.sqrt(n / 4)
    assert binomial_p(50_500, n) == pytest.approx(math.erfc(z / math.sqrt(2)) / 2, rel=1e-3)
    assert binomial_p(n, n) == 0.0  # 2^-100000 is too small for a float
    assert binomial_p(100, n) == 1.0


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 3), (0, -1)])
def test_a_binomial_test_of_impossible_counts(wrong):
    with pytest.raises(FspoError, match=f"{wrong[0]} wins of {wrong[1]} comparisons"):
        binomial_p(*wrong)


def test_ties_decide_nothing():
    assert wins_of_decided([1.0, 0.5, 0.0, 0.7, 0.5, 0.2, 1.0]) == (3, 5)
    assert wins_of_decided([]) == (0, 0)


def test_a_paired_difference_is_the_interval_of_the_differences():
    other = {user: [value / 4 for value in values] for user, values in UNEVEN.items()}
    found = paired_difference(UNEVEN, other, np.random.default_rng(3), resamples=500)
    apart = {user: [0.75 * value for value in values] for user, values in UNEVEN.items()}
    assert found.mean == pytest.approx(pooled_mean(apart))
    assert found[1:] == pytest.approx(naive_ci(apart, seed=3, resamples=500))


@settings(max_examples=50, deadline=None)
@given(several_users, st.floats(-10, 10))
def test_a_paired_difference_cancels_what_is_in_common(values, shift):
    moved = {user: [value + shift for value in items] for user, items in values.items()}
    found = paired_difference(moved, values, np.random.default_rng(0), resamples=50)
    assert found == pytest.approx((shift, shift, shift), abs=1e-9)
    back = paired_difference(values, moved, np.random.default_rng(0), resamples=50)
    assert back == pytest.approx((-shift, -shift, -shift), abs=1e-9)


def test_a_paired_difference_wants_the_same_users_and_items():
    for other, named in (({"ann": [1.0]}, "'ben'"), ({"ann": [1.0], "ben": [1.0, 0.0]}, "1 items")):
        with pytest.raises(FspoError, match=named):
            paired_difference({"ann": [0.0], "ben": [1.0]}, other, np.random.default_rng(0))


def test_an_unpaired_difference_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        one = {str(u): [value] for u, value in enumerate(generator.normal(1.0, 1.0, 60))}
        other = {str(u): [value] for u, value in enumerate(generator.normal(0.5, 2.0, 80))}
        found = unpaired_difference(one, other, generator, resamples=400)
        covered += found.low <= 0.5 <= found.high
    # 190 are expected, with a standard deviation of 3.1.
    assert abs(covered - 190) < 4 * 3.1


def test_an_unpaired_difference_with_a_single_user_on_a_side_has_no_interval():
    found = unpaired_difference({"a": [1.0]}, {"b": [0.0], "c": [0.5]}, np.random.default_rng(0))
    assert found.mean == 0.75
    assert math.isnan(found.low)
    assert math.isnan(found.high)
