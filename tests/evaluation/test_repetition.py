"""How far an answer repeats itself, against worked examples and a naive count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo.evaluation.repetition import repetition


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("It works", 0.0),
        ("one two three", 0.0),
        # it-is-made, is-made-it, made-it-is, it-is-made: the last has been there.
        ("It is made. it is made.", 1 / 4),
        # Seven runs of one and the same.
        ("go " * 9, 6 / 7),
    ],
)
def test_worked_examples(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@given(st.lists(st.sampled_from(["a", "B", "b", "c"]), max_size=30))
def test_it_counts_what_stood_there_before(words: list[str]) -> None:
    lower = [word.lower() for word in words]
    runs = [lower[i : i + 3] for i in range(len(lower) - 2)]
    again = sum(run in runs[:i] for i, run in enumerate(runs))
    assert repetition(" \n".join(words)) == pytest.approx(again / max(len(runs), 1))
