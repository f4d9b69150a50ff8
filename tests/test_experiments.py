"""The arithmetic of the experiments, on numbers whose answer is known."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from fspo import User

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def reading(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("reading")


def asked_of(reading, a, b, noise=0.3, people=200):
    generator = np.random.default_rng(0)
    common, personal = generator.normal(size=(2, people, 9))
    personal[:, 0] = 0  # nobody is known without shots
    reward = a * common + b * personal + noise * generator.normal(size=common.shape)
    return reading.Asked(common, personal, reward)


def test_what_is_common_and_what_is_personal_are_told_apart(reading):
    asked = asked_of(reading, 0.8, 0.3)
    found = reading.summed_up(asked.after((4, 5, 6, 7, 8)), np.random.default_rng(0))
    for part, share in (("common", 0.8), ("personal", 0.3)):
        low, high = found[part]["ci95"]
        assert low < share < high
        assert high - low < 0.1
    assert found["rest"] == pytest.approx(0.3, rel=0.1)
    without = reading.summed_up(asked.after((0,)), np.random.default_rng(0))
    assert without["personal"] == {"share": 0.0, "ci95": [0.0, 0.0]}


def test_the_excess_is_a_divergence(reading):
    asked = asked_of(reading, 0.5, 0.5, people=3)
    every = 0.0
    for common, personal, reward in zip(*(part.ravel() for part in asked), strict=True):
        p, q = (1 / (1 + np.exp(-odds)) for odds in (common + personal, reward))
        every += p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert reading.excess(asked) == pytest.approx(every / asked.reward.size)
    assert reading.excess(asked_of(reading, 1.0, 1.0, noise=0.0)) == pytest.approx(0)


def test_ceiling_counts_every_answer_against_every_one_of_base(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    ceiling = importlib.import_module("ceiling")

    def utility(attributes, text):
        return -abs(attributes["wants"] - float(text))

    user = User("u", "Likes seven.", {"wants": 7.0})
    # 7 wins against both; 5 is as near as 9, a tie, and loses against 8; 1 loses twice.
    assert ceiling.won(user, ["7", "5", "1"], ["9", "8"], utility) == pytest.approx(100 * 2.5 / 6)
    answers = {"a?": ["1", "6", "9"], "b?": ["12", "20"]}
    assert ceiling.best(user, answers, utility) == ["6", "12"]
