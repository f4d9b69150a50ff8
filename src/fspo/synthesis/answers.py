"""Answers to every question that differ: each in the manner of a persona, or from a view.

Persona steering (Reviews, ELIX): the writer is told who will read the answer, and shown answers
that suit such a reader if the domain has any: a small model copies what it does not do when told.
View-conditioning (Roleplay): the writer first lists different views on the question, then answers
from each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from fspo.domains.described import Described, Example
from fspo.llm.asking import ask_readable
from fspo.llm.quoting import one_line
from fspo.llm.requests import LanguageModel, Request
from fspo.synthesis.personas import Persona
from fspo.synthesis.prompts import Question
from fspo.synthesis.responses import REFUSAL, says_something

TEMPERATURE = 1.0
TOP_P = 0.95
TRIES = 3  # how often an answer or a list of views is asked for, until it can be read

_END = re.compile(r"[.!?…][\"')\]*_”’]*(?=\s|$)")


class Answer(NamedTuple):
    """One answer to a question.

    Attributes:
        text: the answer.
        model: who wrote it.
        manner: the persona or the view that it was written for.
    """

    text: str
    model: str
    manner: str


class Manner(NamedTuple):
    """A manner in which an answer is to be written.

    Attributes:
        text: the reader or the view that it is written for; empty for none.
        examples: answers that suit that reader.
    """

    text: str = ""
    examples: Sequence[Example] = ()


class Views(BaseModel):
    """Different views on a question."""

    views: list[str] = Field(min_length=1)


def write_answers(
    domain: Described,
    questions: Sequence[Question],
    personas: Sequence[Persona],
    writer: LanguageModel,
    *,
    each: int,
    views: int,
    max_tokens: int,
    generator: np.random.Generator,
) -> dict[str, list[Answer]]:
    """At most `each` different answers to each question, by its text.

    Args:
        domain: says how answers are made to differ.
        questions: what is asked.
        personas: for whom answers are written, where they differ by persona.
        writer: who writes.
        each: how many answers to a question are asked for.
        views: how many views on a question are asked for, where answers differ by view.
        max_tokens: the longest answer.
        generator: draws personas.
    """
    if domain.diversity == "views":
        manners = _viewed(questions, writer, each, views)
    elif domain.diversity == "none":
        manners = [[Manner()] * each for _ in questions]
    else:
        manners = _steered(questions, personas, each, generator)
    requests = [
        _answer_request(domain, question, manner, number, max_tokens)
        for question, own in zip(questions, manners, strict=True)
        for number, manner in enumerate(own)
    ]
    replies = iter(ask_readable(writer, requests, read_answer, TRIES, "Writing answers"))
    answers: dict[str, list[Answer]] = {}
    for question, own in zip(questions, manners, strict=True):
        found: dict[str, Answer] = {}
        for manner in own:
            text, reply = next(replies)
            if text:
                found.setdefault(text, Answer(text, reply.model, manner.text))
        answers[question.text] = list(found.values())
    return answers


def _steered(
    questions: Sequence[Question],
    personas: Sequence[Persona],
    each: int,
    generator: np.random.Generator,
) -> list[list[Manner]]:
    """For each question, different personas while there are enough."""
    return [
        [
            Manner(personas[place].description, personas[place].examples)
            for turn in range(0, each, len(personas))
            for place in generator.permutation(len(personas))[: each - turn]
        ]
        for _ in questions
    ]


def _viewed(
    questions: Sequence[Question], writer: LanguageModel, each: int, views: int
) -> list[list[Manner]]:
    """For each question, views on it, in turn; none where the writer could not think of any."""
    requests = [_view_request(question, views) for question in questions]
    found = ask_readable(writer, requests, read_views, TRIES, "Looking for views")
    manners = []
    for own, _ in found:
        kept = (own or [""])[:views]
        manners.append([Manner(kept[number % len(kept)]) for number in range(each)])
    return manners


def _view_request(question: Question, views: int) -> Request:
    text = (
        f"{question.text}\n\n"
        f"Do not answer yet. List {views} different views that an answer to this could be written "
        "from, each in at most twelve words and on a line of its own, unlike the others."
    )
    schema = json.dumps(Views.model_json_schema(), sort_keys=True)
    return Request(
        (("user", text),), 40 * views, TEMPERATURE, TOP_P, schema=schema, purpose="views"
    )


def read_views(text: str) -> list[str] | None:
    """The views in a model's answer, as JSON or line by line, or None if there are none."""
    if text.lstrip().startswith(("{", "```")):
        try:
            listed = Views.model_validate_json(text[text.index("{") : text.rindex("}") + 1]).views
        except (ValidationError, ValueError):
            return None
    else:
        listed = [re.sub(r"^\s*([-*•]|\d+[.):])\s*", "", line) for line in text.splitlines()]
    views = [view for line in listed if len((view := one_line(line).strip('*_" ')).split()) >= 2]
    return list(dict.fromkeys(" ".join(view.split()[:25]) for view in views)) or None


def read_answer(text: str) -> str | None:
    """A model's answer without a half sentence at its end, or None if it is no answer."""
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.strip().splitlines()))
    ends = [end.end() for end in _END.finditer(text)]
    if not ends or REFUSAL.match(text):
        return None
    # What follows the last sentence may be a list: its last line alone can be a half one.
    whole = text[: max(ends[-1], text.rfind("\n"))].rstrip()
    return whole if says_something(whole) else None


def _answer_request(
    domain: Described, question: Question, manner: Manner, number: int, max_tokens: int
) -> Request:
    if not manner.text:
        opening = domain.answer
    elif domain.diversity == "views":
        opening = f"{domain.answer}\nWrite from this view: {manner.text}"
    else:
        opening = f"{domain.answer}\nWrite for this reader: {manner.text}"
    shown = [
        turn
        for example in manner.examples
        for turn in (("user", example.question), ("assistant", example.answer))
    ]
    messages = (("system", opening), *shown, ("user", question.text))
    return Request(messages, max_tokens, TEMPERATURE, TOP_P, seed=number, purpose="answers")
