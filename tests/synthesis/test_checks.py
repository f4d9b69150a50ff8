"""The checks beside the plainest way to compute each."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fspo.judging.verdicts import Verdict
from fspo.llm.pretend import pretend_embedder
from fspo.synthesis import checks
from fspo.synthesis.answers import Answer

shares = arrays(np.float64, (5, 7), elements=st.floats(0, 1))


@given(shares)
def test_disagreement_is_counted_pair_by_pair(probabilities):
    matrix = checks.disagreement(probabilities)
    for one, other in product(range(5), repeat=2):
        differ = [
            (probabilities[one, k] > 0.5) != (probabilities[other, k] > 0.5) for k in range(7)
        ]
        assert matrix[one, other] == pytest.approx(sum(differ) / 7)
    for one in range(5):
        others = [matrix[one, other] for other in range(5) if other != one]
        assert checks.mean_disagreement(matrix)[one] == pytest.approx(np.mean(others))


def test_users_outside_the_bounds_are_named():
    # The first three agree with each other, the last with nobody.
    probabilities = np.array([[0.9] * 4] * 3 + [[0.1] * 4])
    matrix = checks.disagreement(probabilities)
    assert checks.outside(matrix, (0.05, 0.6)) == [3]
    assert checks.outside(matrix, (0.4, 1.0)) == [0, 1, 2]
    assert checks.outside(matrix[:1, :1], (0.4, 0.6)) == []
    summary = checks.summary_of(matrix, (0.05, 0.6), 2)
    assert (summary["users_outside"], summary["users_remade"], summary["most"]) == (1, 2, 1.0)


def test_similarity_is_averaged_over_questions_and_its_median_over_pairs():
    answers = {
        "q": [Answer(f"text {n}", "m", "") for n in range(4)],
        "r": [Answer(f"other {n}", "m", "") for n in range(2)],
        "s": [Answer("alone", "m", "")],
    }
    means, every = [], []
    for own in list(answers.values())[:2]:
        vectors = [pretend_embedder([answer.text])[0] for answer in own]
        alike = [float(one @ other) for one, other in combinations(vectors, 2)]
        means.append(sum(alike) / len(alike))
        every += alike
    found = checks.similarity(answers, pretend_embedder)
    assert found["mean"] == pytest.approx(np.mean(means), abs=1e-4)
    assert found["median"] == pytest.approx(np.median(every), abs=1e-4)
    assert found["questions"] == 2
    assert checks.similarity({}, pretend_embedder)["mean"] is None


def test_a_held_out_text_that_training_has_is_a_leak():
    splits = {"train": ["one", "two", "three"], "test": ["two", "four"], "validation": ["five"]}
    found = checks.leaks(splits, pretend_embedder, 0.9)
    assert found["nearly_the_same"] == 1
    assert found["highest_similarity"] == pytest.approx(1.0)
    nearest = [
        max(float(pretend_embedder([a])[0] @ pretend_embedder([b])[0]) for b in splits["train"])
        for a in ("two", "four", "five")
    ]
    assert found["mean_nearest"] == pytest.approx(np.mean(nearest), abs=1e-4)


def test_labels_are_counted_with_their_bias():
    tally = checks.Tally()
    tally.add(Verdict("clear", 0.9, 0.1), "a longer one", "short")
    tally.add(Verdict("clear", 0.2, -0.1), "short", "a longer one")
    tally.add(Verdict("clear", 0.3, 0.3), "same length", "of words")
    tally.add(Verdict("inconsistent", 0.5, 0.4), "x", "y z")
    tally.add(Verdict("unsure", 0.5), "x", "y z")
    tally.add(Verdict("malformed", 0.5), "x", "y z")
    assert tally.figures() == {
        "labels": {"clear": 3, "inconsistent": 1, "unsure": 1, "malformed": 1},
        "position_bias": {"mean": 0.175, "mean_absolute": 0.225},
        "length": {"longer_chosen": round(2.5 / 3, 4)},
        "balance": {"first_chosen": round(1 / 3, 4)},
    }
