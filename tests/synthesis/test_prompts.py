"""Questions: split before anything else, grown within their split, nothing nearly twice."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import Request
from fspo.synthesis.embedding import MiniLM, Unlike
from fspo.synthesis.prompts import (
    SPLITS,
    grow_questions,
    read_question,
    split_counts,
    split_questions,
)


def by_topic(topics: int, each: int) -> dict[str, list[str]]:
    return {f"topic{t}": [f"Question {t}-{n} of all?" for n in range(each)] for t in range(topics)}


@given(st.integers(6, 3000), st.floats(0, 0.45), st.floats(0.01, 0.45))
@example(6, 0.4375, 0.4375)
@example(8, 0.45, 0.45)
def test_counts_add_up_and_every_split_with_a_share_has_something(count, validation, test):
    counts = split_counts(count, validation, test)
    assert sum(counts.values()) == count
    assert counts["test"] >= 1
    assert counts["validation"] >= (1 if validation else 0)
    assert counts["train"] >= 1


@given(st.integers(2, 5), st.integers(3, 9), st.integers(6, 30), st.integers(0, 99))
def test_questions_are_split_evenly_over_topics_and_nothing_is_in_two_splits(
    topics, each, wanted, seed
):
    counts = split_counts(wanted, 0.1, 0.2)
    given_ones = by_topic(topics, each)
    found = split_questions(given_ones, counts, pretend_embedder, np.random.default_rng(seed))
    texts = [q.text for split in SPLITS for q in found[split]]
    assert len(texts) == len(set(texts)) == min(wanted, topics * each)
    per_topic = [sum(text in own for text in texts) for own in given_ones.values()]
    assert max(per_topic) - min(per_topic) <= 1
    if wanted <= topics * each:
        assert {split: len(found[split]) for split in SPLITS} == counts


def test_too_few_questions_are_told():
    counts = split_counts(6, 0.1, 0.2)
    with pytest.raises(FspoError, match="too few to split"):
        split_questions({"t": ["One?", "Two?"]}, counts, pretend_embedder, np.random.default_rng(0))


def test_questions_are_grown_from_their_own_split_only():
    seen: list[Request] = []
    counts = split_counts(40, 0.1, 0.2)
    generator = np.random.default_rng(0)
    questions = split_questions(by_topic(4, 5), counts, pretend_embedder, generator)
    grown = grow_questions(questions, counts, Pretend(seen.append), pretend_embedder, generator)
    assert {split: len(grown[split]) for split in SPLITS} == counts
    texts = [question.text for split in SPLITS for question in grown[split]]
    assert len(set(texts)) == 40
    assert sum(q.origin == "curated" for split in SPLITS for q in grown[split]) == 20
    for request in seen:
        shown = request.messages[0][1]
        splits = {s for s in SPLITS for q in questions[s] if q.text in shown}
        assert len(splits) == 1


def test_a_real_model_of_meaning_finds_what_is_nearly_the_same():
    pytest.importorskip("sentence_transformers")
    kept = Unlike(MiniLM(), 0.9).keep(
        [
            "Why is the sky blue?",
            "How do I bake bread at home?",
            "Why is the sky blue during the day?",
            "Why is the sky so blue?",
            "What makes the grass green?",
        ]
    )
    assert kept[:2] == ["Why is the sky blue?", "How do I bake bread at home?"]
    assert "Why is the sky so blue?" not in kept
    assert "What makes the grass green?" in kept


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("What is a cell?", "What is a cell?"),
        ('1. "How do bees find flowers?"\n2. Why?', "How do bees find flowers?"),
        ("Sure!\n- How do bees find flowers? I hope it helps.", "How do bees find flowers?"),
        ("Write a review of the movie Up.", "Write a review of the movie Up."),
        ("I cannot think of one.", None),
        ("Why?", None),
        ("What " + "and what " * 40 + "?", None),
        ("", None),
    ],
)
def test_a_question_is_read_or_not(text, read):
    assert read_question(text) == read


@given(st.text())
def test_whatever_a_model_writes_is_a_question_on_one_line_or_nothing(text):
    read = read_question(text)
    assert read is None or (len(read.splitlines()) == 1 and read[-1] in "?.")


def test_other_curated_questions_take_the_place_of_those_that_are_alike():
    topics = {
        "a": [f"Why does thing {n} rust?" for n in range(12)],
        "b": ["Who built the bridge?", "Who built the bridge, then?"] * 6,
    }

    def embed(texts):
        rows = pretend_embedder(texts)
        rows[[text.startswith("Who") for text in texts]] = rows[0] * 0 + np.eye(rows.shape[1])[0]
        return rows.astype(np.float32)

    counts = {"test": 2, "validation": 0, "train": 8}
    drawn = split_questions(topics, counts, embed, np.random.default_rng(0))
    texts = [question.text for own in drawn.values() for question in own]
    assert len(texts) == len(set(texts)) == 10
    assert sum(text.startswith("Who") for text in texts) == 1
