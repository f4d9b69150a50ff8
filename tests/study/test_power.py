"""How many people a study needs: exact where it can be, and against simulation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.evaluation.statistics import binomial_p
from fspo.study.power import (
    answers_needed,
    binomial_power,
    critical_wins,
    people_needed,
    report,
    simulated_power,
)


@settings(max_examples=100)
@given(st.integers(1, 400), st.floats(0.001, 0.5))
def test_the_critical_number_is_the_first_that_is_significant(answers, alpha):
    first = critical_wins(answers, alpha)
    assert first == answers + 1 or binomial_p(first, answers) <= alpha
    assert binomial_p(first - 1, answers) > alpha


def test_power_is_the_level_where_there_is_nothing():
    for answers in (10, 100, 550):
        exact = binomial_p(critical_wins(answers), answers)
        assert binomial_power(answers, 0.5) == pytest.approx(exact)


def test_known_numbers():
    # One-sided, 5%: 5 of 5 is the first that is significant.
    assert critical_wins(5) == 5
    assert binomial_power(5, 0.9) == pytest.approx(0.9**5)
    assert critical_wins(4) == 5
    assert binomial_power(4, 0.9) == 0


@pytest.mark.parametrize(("rate", "power"), [(0.6, 0.8), (0.682, 0.9), (0.55, 0.8)])
def test_so_many_answers_are_enough_and_one_less_is_not(rate, power):
    n = answers_needed(rate, power)
    assert binomial_power(n, rate) >= power > binomial_power(n - 1, rate)


def test_simulation_agrees_with_the_exact_power():
    found = simulated_power(20, 11, 0.6, icc=0.0, draws=20_000)
    assert found.binomial == pytest.approx(binomial_power(220, 0.6), abs=0.01)
    assert found.false_alarms == pytest.approx(binomial_power(220, 0.5), abs=0.01)


def test_where_people_differ_the_test_over_people_keeps_its_level():
    none = simulated_power(30, 11, 0.5, icc=0.2, draws=20_000)
    assert none.false_alarms > 0.12  # of the test over answers, which takes them for independent
    assert none.people == pytest.approx(0.05, abs=0.01)


def test_more_variance_takes_more_people():
    needed = [people_needed(11, 0.6, icc) for icc in (0.0, 0.1, 0.3)]
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": 0.5}, "--rate 0.5"),
        ({"rate": 1.0}, "--rate 1.0"),
        ({"rate": 0.5001}, "more than 20000"),
        ({"icc": 1.0}, "--icc 1.0"),
        ({"power": 1.0}, "--power 1.0"),
        ({"alpha": 0.0}, "--alpha 0.0"),
    ],
)
def test_faults_are_named(changes, told):
    settings_ = {"rate": 0.6, "questions": 11, "people": 20, "icc": 0.1, "power": 0.8,
                 "alpha": 0.05}  # fmt: skip
    with pytest.raises(FspoError, match=told):
        report(**settings_ | changes)


def test_the_report_of_a_given_size():
    found = report(0.682, 11, 50, 0.1, 0.8, 0.05)
    assert found["people"] == 50
    assert found["exact_power_of_independent_answers"] > 0.999
    assert "people_needed" not in found
