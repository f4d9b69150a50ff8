"""Calibration: against loops over predictions, closed forms, and a search for the temperature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.evaluation.calibration import FLATTEST, SHARPEST, calibration, fit_temperature

gaps = st.lists(st.floats(-30, 30), min_size=1, max_size=60)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@given(gaps, st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([2, 7, 10]))
def test_it_is_what_a_loop_over_the_predictions_finds(values, temperature, bins):
    predictions = []
    for value in values:
        p = sigmoid(value / temperature)
        predictions += [(p, 1.0), (1 - p, 0.0)]
    found = calibration(values, temperature, bins)
    assert found.brier == pytest.approx(np.mean([(p - outcome) ** 2 for p, outcome in predictions]))
    assert sum(own.n for own in found.curve) == len(predictions)
    distance = sum(own.n * abs(own.predicted - own.observed) for own in found.curve if own.n)
    assert found.error == pytest.approx(distance / len(predictions))
    for own in found.curve:
        inside = own.predicted
        assert math.isnan(inside) == (own.n == 0)
        if own.n:
            assert own.low - 1e-9 <= inside <= own.high + 1e-9


def test_a_worked_curve():
    # Three pairs at log-odds of 80%, of which one came out against the model, and one at 1/2.
    odds = math.log(4)
    found = calibration([odds, odds, -odds, 0.0], bins=4)
    assert [own.n for own in found.curve] == [3, 0, 2, 3]
    low, empty, middle, high = found.curve
    assert (high.predicted, high.observed) == pytest.approx((0.8, 2 / 3))
    assert (low.predicted, low.observed) == pytest.approx((0.2, 1 / 3))
    assert (middle.predicted, middle.observed) == (0.5, 0.5)
    assert math.isnan(empty.predicted)
    assert found.brier == pytest.approx((2 * 0.04 + 0.64 + 0.25) / 4)
    assert found.error == pytest.approx(6 / 8 * (0.8 - 2 / 3))


def test_always_saying_one_half_is_calibrated_and_says_nothing():
    found = calibration([0.0] * 5)
    assert (found.brier, found.error) == (0.25, 0.0)


def test_honest_predictions_have_a_small_error_and_overconfident_ones_a_large_one():
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, 20_000)
    came = np.where(generator.random(20_000) < 1 / (1 + np.exp(-true)), true, -true)
    assert calibration(came).error < 0.01
    assert calibration(came, temperature=0.2).error > 0.1
    assert fit_temperature(came) == pytest.approx(1, abs=0.05)
    assert fit_temperature(5 * came) == pytest.approx(5, abs=0.25)


thousandths = st.integers(-30_000, 30_000).map(lambda n: n / 1000)  # whose squares are no 0


@given(st.lists(thousandths, min_size=2, max_size=30))
def test_no_temperature_in_the_range_is_better(values):
    found = fit_temperature(values)

    def loss(temperature: float) -> float:
        return float(np.mean(np.logaddexp(0, -np.array(values) / temperature)))

    scale = math.sqrt(np.mean(np.square(values))) or 1.0
    for other in scale * np.geomspace(SHARPEST, FLATTEST, 101):
        assert loss(found) <= loss(other) + 1e-9


def test_two_to_one_has_a_closed_form():
    # sigmoid(g / t) = 2/3, so that t = g / log 2.
    assert fit_temperature([3.0, 3.0, -3.0]) == pytest.approx(3 / math.log(2))


@given(st.floats(1e-300, 1e300))
def test_the_temperature_grows_with_the_unit_of_the_gaps(unit):
    assert fit_temperature([2 * unit, unit, -unit]) == pytest.approx(
        unit * fit_temperature([2.0, 1.0, -1.0]), rel=1e-9
    )


def test_extremes_are_bounded():
    assert fit_temperature([0.0, 0.0]) == 1.0
    assert fit_temperature([3.0, 3.0]) == pytest.approx(3 * SHARPEST)
    assert fit_temperature([-3.0]) == pytest.approx(3 * FLATTEST)
    assert fit_temperature([-3.0, 3.0]) == pytest.approx(3 * FLATTEST)
    assert calibration([5000.0, -5000.0]).brier == 0.5  # without overflow


@pytest.mark.parametrize("function", [calibration, fit_temperature])
def test_what_cannot_be_calibrated_is_named(function):
    with pytest.raises(FspoError, match="nothing to calibrate"):
        function([])
    for wrong in (math.nan, math.inf):
        with pytest.raises(FspoError, match="pair 2: its gap is"):
            function([0.0, wrong])
