"""Length control: against a naive optimizer, closed forms, and worlds where the truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.evaluation import length_control
from fspo.evaluation.length_control import RIDGE, length_controlled_win_rate
from fspo.evaluation.statistics import win_rate

outcomes_and_lengths = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 200), st.integers(0, 200)),
    min_size=2,
    max_size=30,
)


def controlled(items, resamples=50, seed=0):
    columns = [{str(n): [item[k]] for n, item in enumerate(items)} for k in range(3)]
    return length_controlled_win_rate(*columns, np.random.default_rng(seed), resamples)


def naive_rate(items) -> float:
    """Gradient ascent, in small steps, until nothing moves."""
    gaps = np.array([length - other for _, length, other in items], dtype=float)
    won = np.array([outcome for outcome, _, _ in items])
    spread = np.std(gaps, ddof=1)
    pulls = np.tanh(gaps / spread) if spread else 0 * gaps
    theta = phi = 0.0
    rate = 1 / (len(items) / 2 + RIDGE)  # less than 2 over the largest curvature
    for _ in range(200_000):
        missed = won - 1 / (1 + np.exp(-theta - phi * pulls))
        move = missed.sum() - RIDGE * theta, (missed * pulls).sum() - RIDGE * phi
        theta, phi = theta + rate * move[0], phi + rate * move[1]
        if max(map(abs, move)) < 1e-9:
            break
    return 100 / (1 + math.exp(-theta))


def test_it_is_what_a_naive_optimizer_finds():
    generator = np.random.default_rng(1)
    for count in (3, 12, 80):
        items = [
            (float(generator.choice([0.0, 0.5, 1.0])), *generator.integers(0, 90, 2).tolist())
            for _ in range(count)
        ]
        assert controlled(items).winrate == pytest.approx(naive_rate(items), abs=1e-5)


def test_it_is_the_win_rate_where_lengths_do_not_matter():
    # Half of the answers are longer by 10 and half shorter, and either half is won equally often.
    items = [(won, 20 + sign * 5, 20 - sign * 5) for won in (1.0, 1, 1, 0) for sign in (1, -1)] * 50
    assert controlled(items).winrate == pytest.approx(75, abs=0.02)


def test_a_pure_effect_of_length_is_removed():
    # Whoever is longer wins with probability sigmoid(2 tanh(d / s)); this method mostly is.
    generator = np.random.default_rng(2)
    gaps = generator.normal(30, 40, 4000)
    wins = generator.random(4000) < 1 / (1 + np.exp(-2 * np.tanh(gaps / gaps.std(ddof=1))))
    items = [(float(won), 100 + gap, 100.0) for won, gap in zip(wins, gaps, strict=True)]
    assert win_rate([item[0] for item in items]) > 65
    found = controlled(items, resamples=200)
    assert found.winrate == pytest.approx(50, abs=3)
    assert found.low < 50 < found.high


def test_what_a_method_adds_beside_length_is_found():
    generator = np.random.default_rng(3)
    gaps = generator.normal(-20, 40, 4000)
    logits = 1.0 + 2 * np.tanh(gaps / gaps.std(ddof=1))
    wins = generator.random(4000) < 1 / (1 + np.exp(-logits))
    items = [(float(won), 100 + gap, 100.0) for won, gap in zip(wins, gaps, strict=True)]
    found = controlled(items, resamples=200)
    truth = 100 / (1 + math.exp(-1))
    assert found.winrate == pytest.approx(truth, abs=3)
    assert found.low < truth < found.high


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20))
def test_base_against_base_is_exactly_fifty(lengths):
    assert controlled([(0.5, length, length) for length in lengths]).winrate == 50.0


@settings(max_examples=60, deadline=None)
@given(outcomes_and_lengths)
def test_swapping_the_two_sides_gives_a_hundred_minus(items):
    there = controlled(items)
    back = controlled([(1 - outcome, other, length) for outcome, length, other in items])
    assert there.winrate == pytest.approx(100 - back.winrate, abs=1e-6)
    assert (there.low, there.high) == pytest.approx((100 - back.high, 100 - back.low), abs=1e-6)
    assert 0 < there.winrate < 100


def test_separable_outcomes_stay_finite_and_close_to_the_end():
    for sign in (1, -1):  # won by all, and each side longer than the other at times
        items = [(1.0, 50 + sign * n, 50) for n in range(-50, 50)]
        assert 99.8 < controlled(items).winrate < 100
    longer_wins = [(float(gap > 0), 50 + gap, 50) for gap in (-9, -8, -7, -6, 6, 7, 8, 9)]
    assert controlled(longer_wins).winrate == pytest.approx(50, abs=1e-6)


def test_one_constant_difference_leaves_the_length_out():
    items = [(1.0, 30, 20)] * 75 + [(0.0, 30, 20)] * 25
    assert controlled(items).winrate == pytest.approx(75, abs=0.02)


def test_the_unit_of_length_does_not_matter():
    items = [(1.0, 9, 4), (0.0, 3, 8), (1.0, 2, 4), (0.5, 8, 1), (0.0, 5, 5)]
    scaled = [(outcome, 7 * length, 7 * other) for outcome, length, other in items]
    assert controlled(scaled) == pytest.approx(controlled(items))


def test_the_interval_is_that_of_refits_on_drawn_users(monkeypatch):
    generator = np.random.default_rng(4)
    users = [f"u{n}" for n in range(24)]
    sizes = dict(zip(users, (1, 3, 2, 4, 1, 5) * 4, strict=True))
    won = {u: generator.integers(0, 2, n).astype(float).tolist() for u, n in sizes.items()}
    long = {u: generator.integers(1, 90, n).tolist() for u, n in sizes.items()}
    other = {u: generator.integers(1, 90, n).tolist() for u, n in sizes.items()}
    found = length_controlled_win_rate(won, long, other, np.random.default_rng(5), resamples=40)

    gaps = np.concatenate([np.subtract(long[u], other[u]) for u in users])
    draws = np.random.default_rng(5).multinomial(24, np.full(24, 1 / 24), size=40)
    rates = []
    for counts in draws:
        drawn = [u for u, count in zip(users, counts, strict=True) for _ in range(count)]
        y = np.concatenate([won[u] for u in drawn])
        x = np.tanh(
            np.concatenate([np.subtract(long[u], other[u]) for u in drawn]) / gaps.std(ddof=1)
        )
        theta = phi = 0.0
        for _ in range(100_000):
            missed = y - 1 / (1 + np.exp(-theta - phi * x))
            move = missed.sum() - RIDGE * theta, (missed * x).sum() - RIDGE * phi
            theta, phi = theta + 2 * move[0] / len(y), phi + 2 * move[1] / len(y)
            if max(map(abs, move)) < 1e-6:
                break
        rates.append(100 / (1 + math.exp(-theta)))
    assert found[1:] == pytest.approx(np.percentile(rates, [2.5, 97.5]), abs=1e-3)
    monkeypatch.setattr(length_control, "_FITS_PER_BLOCK", 40)
    again = length_controlled_win_rate(won, long, other, np.random.default_rng(5), resamples=40)
    assert again == pytest.approx(found)


def test_one_user_gives_no_interval():
    found = length_controlled_win_rate(
        {"a": [1.0, 0.0]}, {"a": [3, 4]}, {"a": [4, 3]}, np.random.default_rng(0)
    )
    assert found.winrate == pytest.approx(50)
    assert math.isnan(found.low)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (({}, {}, {}), "nothing to average"),
        (({"a": []}, {}, {}), "nothing to average"),
        (({"a": [2.0]}, {"a": [1]}, {"a": [1]}), "not between 0"),
        (({"a": [1.0] * 3}, {"a": [1, 2, 3]}, {"a": [1, 2]}), "3 lengths and 2 lengths"),
        (({"a": [1.0]}, {"a": [1]}, {"a": [1, 2]}), "user 'a': 1 outcomes, 1 lengths and 2"),
        (({"a": [1.0]}, {"a": [1, 2]}, {"a": [1, 2]}), "user 'a': 1 outcomes, 2 lengths"),
        (({"a": [1.0], "b": [1.0]}, {"a": [1, 1]}, {"a": [1], "b": [1]}), "user 'a'"),
    ],
)
def test_what_does_not_fit_is_named(columns, message):
    with pytest.raises(FspoError, match=message):
        length_controlled_win_rate(*columns, np.random.default_rng(0))
