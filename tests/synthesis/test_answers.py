"""Answers that differ: by persona, by view, or by chance; and what cannot be read as views."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_domain import write_domain

from fspo.domains.domain import load_domain
from fspo.llm.requests import Reply, Request
from fspo.synthesis.answers import Answer, read_answer, read_views, write_answers
from fspo.synthesis.guidelines import read_guidelines
from fspo.synthesis.personas import Persona
from fspo.synthesis.prompts import Question
from fspo.synthesis.refining import read_sentence

QUESTIONS = [Question(f"What is number {n} good for?", "numbers", "curated") for n in range(4)]
PERSONAS = [Persona(f"Person {n} likes it plain.") for n in range(3)]


class Viewer:
    """Thinks of two views, the second time it is asked; answers from what it is told."""

    name = "viewer"

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        self.asked += requests
        for place, request in enumerate(requests):
            text = f"{request.messages[0][1].splitlines()[-1]} That is all, {request.seed}."
            if request.purpose == "views":
                views = {"views": ["from the cook's side", "from the guest's side"]}
                text = json.dumps(views) if request.seed else "No."
            yield [(place, Reply(text, self.name))]


def write(diversity: str, tmp_path, each: int) -> tuple[dict[str, list[Answer]], list[Request]]:
    domain = load_domain(str(write_domain(tmp_path / diversity, diversity)))
    model = Viewer()
    answers = write_answers(
        domain,
        QUESTIONS,
        PERSONAS,
        model,
        each=each,
        views=2,
        max_tokens=40,
        generator=np.random.default_rng(0),
    )
    return answers, model.asked


def test_answers_are_written_for_different_readers(tmp_path):
    answers, asked = write("personas", tmp_path, 3)
    assert list(answers) == [question.text for question in QUESTIONS]
    for own in answers.values():
        assert sorted(answer.manner for answer in own) == [p.description for p in PERSONAS]
        for answer in own:
            assert answer.text.startswith(f"Write for this reader: {answer.manner}")
            assert answer.model == "viewer"
    assert {request.purpose for request in asked} == {"answers"}


def test_answers_are_written_from_views_that_are_asked_for_again_until_they_can_be_read(tmp_path):
    answers, asked = write("views", tmp_path, 4)
    views = [request for request in asked if request.purpose == "views"]
    assert len(views) == 2 * len(QUESTIONS)
    assert json.loads(views[0].schema)["properties"]["views"]["type"] == "array"
    for own in answers.values():
        assert [answer.manner for answer in own] == [
            "from the cook's side",
            "from the guest's side",
        ] * 2


def test_with_no_way_to_differ_answers_differ_by_chance(tmp_path):
    answers, asked = write("none", tmp_path, 3)
    assert {answer.manner for own in answers.values() for answer in own} == {""}
    assert all(len(own) == 3 for own in answers.values())
    assert {request.messages[0][1] for request in asked} == {"Answer in one sentence."}


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ('{"views": ["a cook", "a guest"]}', ["a cook", "a guest"]),
        ('```json\n{"views": ["a cook", "a guest"]}\n```', ["a cook", "a guest"]),
        ("1. The cook's side\n2) The guest's side\n\n- **A child**", None),
        ('{"views": [1, 2]}', None),
        ('{"view": ["a cook"]}', None),
        ('{"views": ["a cook", ', None),
        ('{"views": []}', None),
        ("No.", None),
        ("the same view\nthe same view", ["the same view"]),
    ],
)
def test_views_are_read_as_json_or_line_by_line(text, views):
    expected = ["The cook's side", "The guest's side", "A child"] if text[0] == "1" else views
    assert read_views(text) == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" Cells are small rooms. They live. And th", "Cells are small rooms. They live."),
        ("Cells are rooms:  \n\n\n\n- one\n- two. \n- thr", "Cells are rooms:\n\n- one\n- two."),
        ("Cells live. Of these:\n- one\n- two\n- thr", "Cells live. Of these:\n- one\n- two"),
        ('He said: "Cells are small rooms."', 'He said: "Cells are small rooms."'),
        ("Cells without an end", None),
        ("I'm sorry, but I cannot answer that.", None),
        ("Yes.", None),
        ("so so so so so so so so so so so so.", None),
        ("", None),
    ],
)
def test_an_answer_ends_with_a_whole_sentence_or_line(text, answer):
    assert read_answer(text) == answer


@given(st.text())
def test_an_answer_is_a_beginning_of_what_was_written(text):
    answer = read_answer(text)
    if answer is not None:
        assert "".join(text.split()).startswith("".join(answer.split()))
        assert answer == answer.strip()


@pytest.mark.parametrize("read", [read_views, read_sentence, read_guidelines])
@given(text=st.text())
def test_whatever_a_model_writes_raises_nothing_and_stays_on_its_line(read, text):
    found = read(text)
    for line in [found] if isinstance(found, str) else found or []:
        assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("They like it short.", "They like it short."),
        ('"They like it short!" And more.', "They like it short!"),
        ("Sure! They like it short.", None),
        ("As an AI, I cannot say.", None),
        ("They", None),
        ("They like " + "very " * 40 + "much.", None),
    ],
)
def test_a_sentence_about_a_person_is_read_or_not(text, sentence):
    assert read_sentence(text) == sentence


def test_guidelines_are_at_most_two_sentences():
    text = "Prefer short answers. Prefer examples! Prefer bread."
    assert read_guidelines(text) == "Prefer short answers. Prefer examples!"
    assert read_guidelines("I'm sorry, I cannot.") is None
