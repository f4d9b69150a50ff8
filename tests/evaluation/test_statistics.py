import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fspo.errors import FspoError
from fspo.evaluation import statistics
from fspo.evaluation.statistics import (
    FEW_USERS,
    binomial_p,
    bootstrap_ci,
    mean_by_user,
    paired_difference,
    pooled_mean,
    unpaired_difference,
    user_ci,
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


def naive_t(values_by_user: Mapping[str, Sequence[float]]):
    """Student's t about the mean over all items, with an influence of each user."""
    mean = pooled_mean(values_by_user)
    sizes = [len(values) for values in values_by_user.values()]
    influences = [sum(values) - mean * len(values) for values in values_by_user.values()]
    error = math.sqrt(len(sizes)) * np.std(influences, ddof=1) / sum(sizes)
    freedom = sum(sizes) ** 2 / sum(n**2 for n in sizes) - 1
    return stats.t.interval(0.95, freedom, mean, error)


def test_with_few_users_an_interval_is_students_over_their_means():
    means = np.random.default_rng(2).normal(size=9)
    values = {str(user): [value - 1, value + 1] for user, value in enumerate(means)}
    found = user_ci(values, np.random.default_rng(0))
    assert found == pytest.approx(stats.t.interval(0.95, 8, means.mean(), stats.sem(means)))
    assert user_ci(UNEVEN, np.random.default_rng(0)) == pytest.approx(naive_t(UNEVEN))


def test_with_enough_users_an_interval_is_the_bootstraps():
    for users in (FEW_USERS, 60):
        values = {str(user): [float(user % 3 == 0), 1.0] for user in range(users)}
        drawn = bootstrap_ci(values, np.random.default_rng(1), 300)
        assert user_ci(values, np.random.default_rng(1), 300, most=1.0) == drawn


counted = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=6), min_size=2, max_size=12
)


@settings(deadline=None)
@given(counted)
def test_with_few_users_a_shares_interval_is_wilsons(items):
    values = {str(user): own for user, own in enumerate(items)}
    low, high = user_ci(values, np.random.default_rng(0), most=1.0)
    every = np.concatenate(items)
    mean = every.mean()
    assert 0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1
    hundredfold = {user: [100 * value for value in own] for user, own in values.items()}
    assert user_ci(hundredfold, np.random.default_rng(0), most=100.0) == pytest.approx(
        (100 * low, 100 * high)
    )
    other = {user: [1 - value for value in own] for user, own in values.items()}
    assert user_ci(other, np.random.default_rng(0), most=1.0) == pytest.approx((1 - high, 1 - low))
    if every.std() == 0 and 0 < mean < 1:  # all ties: nothing was won or lost
        assert low == high == mean
        return
    # Its ends are the shares that the mean is just `t` standard errors away from.
    sizes = np.array([len(own) for own in items])
    t = stats.t.ppf(0.975, max(1, sizes.sum() ** 2 / (sizes**2).sum() - 1))
    error = max(naive_error(items), every.std() / math.sqrt(len(every)))
    trials = mean * (1 - mean) / error**2 if 0 < mean < 1 else len(every)
    for end in {low, high} - {0.0, 1.0}:
        assert abs(mean - end) == pytest.approx(t * math.sqrt(end * (1 - end) / trials), abs=1e-9)


def naive_error(items):
    mean = np.concatenate(items).mean()
    influences = [sum(own) - mean * len(own) for own in items]
    return math.sqrt(len(items)) * np.std(influences, ddof=1) / sum(map(len, items))


def test_winning_everything_is_no_certainty():
    for users, each in ((4, 6), (8, 1), (23, 2)):
        values = {str(user): [1.0] * each for user in range(users)}
        low, high = user_ci(values, np.random.default_rng(0), most=1.0)
        assert high == 1.0
        t = stats.t.ppf(0.975, users - 1)
        assert low == pytest.approx(1 / (1 + t**2 / (users * each)))


@pytest.mark.parametrize("users", [4, 5, 6, 8, 12, 16, 24, 48])
def test_intervals_cover_the_truth_as_often_as_they_say(users):
    generator, draws, covered = np.random.default_rng(users), 250, np.zeros(4)
    for _ in range(draws):
        rates = generator.beta(4.5, 4.5, (users, 1)), generator.beta(8.1, 0.9, (users, 1))
        for place, (rate, truth) in enumerate(zip(rates, (0.5, 0.9), strict=True)):
            won = generator.random((users, 6)) < rate
            values = {str(u): own.astype(float).tolist() for u, own in enumerate(won)}
            low, high = user_ci(values, generator, 300, most=1.0)
            covered[place] += low <= truth <= high
        one = generator.random((users, 6)) < generator.beta(4, 2, (users, 1))
        other = generator.random((users, 6)) < generator.beta(3, 3, (users, 1))
        sides = [
            {str(u): own.astype(float).tolist() for u, own in enumerate(side)}
            for side in (one, other)
        ]
        lead = paired_difference(*sides, generator, 300, most=1.0)
        covered[2] += lead.low <= 1 / 6 <= lead.high
        lead = unpaired_difference(*sides, generator, 300, most=1.0)
        covered[3] += lead.low <= 1 / 6 <= lead.high
    # 0.95 less four standard deviations of the simulation, and what few users' luck may take
    assert min(covered / draws) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / draws), covered / draws


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


@settings(deadline=None)
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
    assert found[1:] == pytest.approx(naive_t(apart))
    many = {f"{user}{n}": values for user, values in UNEVEN.items() for n in range(FEW_USERS)}
    none = {user: [0.0] * len(values) for user, values in many.items()}
    found = paired_difference(many, none, np.random.default_rng(3), resamples=500)
    assert found[1:] == pytest.approx(naive_ci(many, seed=3, resamples=500))


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
