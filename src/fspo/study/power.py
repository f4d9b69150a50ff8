"""Computes how many people and questions a study needs: exact for answers, simulated for people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fspo.errors import FspoError

_MOST = 20_000  # answers, or people


class SimulatedPower(NamedTuple):
    """The chance that a study of this size finds what is there, between 0 and 1.

    Attributes:
        binomial: by the one-sided binomial test over answers.
        people: by the mean over people, whose standard error knows that people differ.
        false_alarms: how often the binomial test over answers would find something where people
            differ as much, but half of all answers are won.
    """

    binomial: float
    people: float
    false_alarms: float


def critical_wins(answers: int, alpha: float = 0.05) -> int:
    """The fewest wins of so many answers whose one-sided binomial p is at most `alpha`.

    It is `answers` + 1 where not even all of them would do.
    """
    from scipy import stats

    # of all numbers that are exceeded with a probability of at most alpha, the lowest
    return int(stats.binom.isf(alpha, answers, 0.5)) + 1


def binomial_power(answers: int, rate: float, alpha: float = 0.05) -> float:
    """The exact probability that the test finds a win rate of `rate` (between 0 and 1)."""
    from scipy import stats

    return float(stats.binom.sf(critical_wins(answers, alpha) - 1, answers, rate))


def answers_needed(rate: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The fewest independent answers with which the binomial test has that power.

    Raises:
        FspoError: unless 0.5 < rate < 1, and if it would take more than some ten thousands.
    """
    _check(rate)
    low, high = 1, 16
    while binomial_power(high, rate, alpha) < power:
        low, high = high, high * 2
        if high > _MOST:
            raise FspoError(f"--rate {rate}: more than {_MOST} answers are needed; look for more")
    return next(n for n in range(low, high + 1) if binomial_power(n, rate, alpha) >= power)


def simulated_power(
    people: int,
    questions: int,
    rate: float,
    icc: float,
    alpha: float = 0.05,
    draws: int = 4000,
    seed: int = 0,
) -> SimulatedPower:
    """The power where people differ: each person's win rate is drawn from a beta distribution.

    Args:
        people: participants who are analyzed, two at least.
        questions: answers of each about this comparison.
        rate: the win rate over everybody, between 0 and 1.
        icc: the intraclass correlation of a person's answers: 0 where people do not differ.
        alpha: one-sided level.
        draws: simulated studies.
        seed: of the simulation.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    first = critical_wins(people * questions, alpha)
    wins = _wins(rng, draws, people, questions, rate, icc)
    none = _wins(rng, draws, people, questions, 0.5, icc)
    means = wins / questions
    error = means.std(axis=1, ddof=1) / math.sqrt(people)
    found = means.mean(axis=1) - stats.t.ppf(1 - alpha, people - 1) * error > 0.5
    return SimulatedPower(
        float((wins.sum(axis=1) >= first).mean()),
        float(found.mean()),
        float((none.sum(axis=1) >= first).mean()),
    )


def people_needed(
    questions: int, rate: float, icc: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """The fewest people, in steps of a tenth, with whom the test over people has that power.

    Raises:
        FspoError: unless 0.5 < rate < 1, and if it would take more than some ten thousands.
    """
    _check(rate)
    for people in _sizes():
        if simulated_power(people, questions, rate, icc, alpha, draws=2000).people >= power:
            return people
    raise FspoError(f"--rate {rate}: more than {_MOST} people are needed; look for more")


def report(
    rate: float, questions: int, people: int | None, icc: float, power: float, alpha: float
) -> dict[str, Any]:
    """Returns what `fspo study power` prints.

    Args:
        rate: the win rate to find, above 0.5.
        questions: of each person about one comparison.
        people: how many there are, or None for as many as are needed.
        icc: the intraclass correlation of a person's answers.
        power: the wanted probability to find it.
        alpha: one-sided level.

    Raises:
        FspoError: naming the option that is out of range.
    """
    for name, value in (("--power", power), ("--alpha", alpha)):
        if not 0 < value < 1:
            raise FspoError(f"{name} {value}: give a number above 0 and below 1")
    if not 0 <= icc < 1:
        raise FspoError(f"--icc {icc}: give a number from 0 and below 1")
    answers = answers_needed(rate, power, alpha)
    found: dict[str, Any] = {
        "rate": rate,
        "independent_answers_needed": answers,
        "people_needed_if_all_answers_were_independent": math.ceil(answers / questions),
    }
    if people is None:
        people = found["people_needed"] = people_needed(questions, rate, icc, power, alpha)
    expected = simulated_power(people, questions, rate, icc, alpha)
    return found | {
        "people": people,
        "questions": questions,
        "icc": icc,
        "power_of_the_test_over_people": expected.people,
        "power_of_the_binomial_test": expected.binomial,
        "false_alarms_of_the_binomial_test": expected.false_alarms,
        "exact_power_of_independent_answers": binomial_power(people * questions, rate, alpha),
    }


def _sizes() -> Iterator[int]:
    people = 5
    while people <= _MOST:
        yield people
        people += max(1, people // 10)


def _wins(
    rng: np.random.Generator, draws: int, people: int, questions: int, rate: float, icc: float
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    rates = np.full((draws, people), rate)
    if icc > 0:
        spread = 1 / icc - 1  # of the beta distribution whose intraclass correlation this is
        rates = rng.beta(rate * spread, (1 - rate) * spread, (draws, people))
    return rng.binomial(questions, rates)


def _check(rate: float) -> None:
    if not 0.5 < rate < 1:
        raise FspoError(f"--rate {rate}: give a win rate above 0.5 and below 1")
