"""Requests to a language model and its replies: the two records, and a model's interface.

It knows nothing about users or preferences, nor about how a model is reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from fspo.console import track
from fspo.llm.thinking import without_thinking

_STEP = 1_000_003  # between the seeds of attempts: more than one request has seeds

Message = tuple[str, str]  # (role, content)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        messages: (role, content) each; roles are system, user and assistant.
        max_tokens: the longest answer.
        temperature: of sampling; 0 takes the likeliest token each time.
        top_p: samples from the likeliest tokens that hold this share of the probability.
        seed: another seed is another draw; the same request is never asked twice.
        choices: if given, the answer is one of these, and its probability against the others is
            wanted rather than a sample.
        schema: if given, a JSON schema, as JSON, that a model may be held to by its server.
        purpose: what it is for, in a word, for counts and previews; the answer does not depend on
            it.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    choices: tuple[str, ...] = ()
    schema: str = ""
    purpose: str = ""

    def key(self, model: str) -> bytes:
        """Sixteen bytes that name this request to the model of that name."""
        content = (
            model,
            self.messages,
            self.max_tokens,
            self.temperature,
            self.top_p,
            self.seed,
            self.choices,
            self.schema,
        )
        return blake2b(json.dumps(content).encode(), digest_size=16).digest()

    def again(self, attempt: int) -> Request:
        """The same question as another draw: `attempt` counts from 1."""
        return replace(self, seed=(self.seed + attempt * _STEP) % 2**31)


class Reply(NamedTuple):
    """A model's reply.

    Attributes:
        text: the answer; for a request with choices, the likeliest of them, or what it said
            instead.
        model: who wrote it.
        input_tokens: what was read, in the model's tokens.
        output_tokens: what was written.
        probabilities: of each of the request's choices, summing to 1; empty if unknown.
        refused: why the server will not answer this request, in its words; empty if it did.
    """

    text: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    probabilities: tuple[float, ...] = ()
    refused: str = ""


def reply_of(fields: Sequence[Any]) -> Reply:
    """A reply that was written as JSON, as a list of its fields."""
    said, model, read, written, probabilities, *refused = fields  # older ones have five
    return Reply(said, model, read, written, tuple(probabilities), *refused)


class LanguageModel(Protocol):
    """Something that answers requests."""

    @property
    def name(self) -> str:
        """Returns who answers: models of one name give the same answers to the same requests."""

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields (place in `requests`, reply), in any order, several at a time.

        What is yielded at a time stands and falls together: a model that writes a batch at once
        yields it at once, and whoever stores replies stores all of these or none.
        """


def ask(model: LanguageModel, requests: Sequence[Request], description: str = "") -> list[Reply]:
    """The replies to all of `requests`, in their order, without what a model thought before.

    Args:
        model: who is asked.
        requests: what is asked.
        description: what progress is shown as; with none, no progress is shown.
    """
    groups = model.answer(requests)
    shown = track(groups, description, len(requests), len) if description and requests else groups
    replies = {place: reply for group in shown for place, reply in group}
    return [_answered(replies[place]) for place in range(len(requests))]


def _answered(reply: Reply) -> Reply:
    """Without what the model thought: what is kept of a reply still has it."""
    return reply._replace(text=without_thinking(reply.text))
