"""Asks a model for answers, and keeps what it wrote in a file that an interrupted run goes on from.

The file's first line says what was asked for; each further line is one chunk: one persona, some
titles. A chunk's random numbers depend on the seed and on its number alone, so a run that was
killed writes the same bytes when it is started again as one that was not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fspo.console import say, track
from fspo.errors import FspoError
from fspo.files import write_text
from fspo.llm.local import Conversation, LocalModel

TITLES_IN_A_CHUNK = 48
MAX_NEW_TOKENS = 64
TEMPERATURE = 0.8
TOP_P = 0.95
MIN_WORDS = 3
MIN_DIFFERENT_WORDS = 0.4  # of all words; what a model writes that is caught in a loop has fewer

_REFUSAL = re.compile(r"(i'm|i am) sorry, (but )?(i|as)\b|i (can't|cannot) |as an ai\b", re.I)
_SENTENCES = re.compile(r".*[.!?…][\"'”’)]*", re.S)
_MARKDOWN = " *_#`>"
_QUOTES = "\"'“”‘’"


class Answer(NamedTuple):
    """What the model wrote about a title, in the manner of a persona."""

    title: str
    persona: str
    text: str


class Request(NamedTuple):
    """What is asked of the model.

    Attributes:
        personas: in whose manner each title is answered.
        titles: what is asked about.
        seed: what the sampling depends on.
        model: the model's name, as the user gave it.
    """

    personas: Sequence[str]
    titles: Sequence[str]
    seed: int
    model: str

    def chunks(self) -> list[tuple[str, list[str]]]:
        """The persona and the titles of each chunk, in the order in which they are asked for."""
        starts = range(0, len(self.titles), TITLES_IN_A_CHUNK)
        return [
            (persona, list(self.titles[start : start + TITLES_IN_A_CHUNK]))
            for persona in self.personas
            for start in starts
        ]


def ask(
    request: Request,
    conversation: Callable[[str, str], Conversation],
    model: Callable[[], LocalModel],
    path: Path,
) -> list[Answer]:
    """Every answer that was asked for, as the model wrote it.

    Args:
        request: what is asked for.
        conversation: what to say to the model, given a persona and a title.
        model: loads the model; called only if there is something left to ask.
        path: the file that keeps the answers; what it holds already is not asked for again.

    Raises:
        FspoError: if `path` holds answers to another request.
    """
    chunks = request.chunks()
    written = _resume(request, path)
    if written:
        say(f"{path}: {len(written)} of {len(chunks)} chunks of answers are there already")
    if len(written) < len(chunks):
        llm = model()
        left = range(len(written), len(chunks))
        with path.open("a", encoding="utf-8") as file:
            for number in track(left, "Writing answers", len(left)):
                persona, titles = chunks[number]
                texts = llm.chat(
                    [conversation(persona, title) for title in titles],
                    max_new_tokens=MAX_NEW_TOKENS,
                    temperature=TEMPERATURE,
                    top_p=TOP_P,
                    seed=_chunk_seed(request.seed, number),
                    batch_size=TITLES_IN_A_CHUNK,
                )
                file.write(_line({"persona": persona, "titles": titles, "texts": texts}))
                file.flush()
                written.append(texts)
    return [
        Answer(title, persona, text)
        for (persona, titles), texts in zip(chunks, written, strict=True)
        for title, text in zip(titles, texts, strict=True)
    ]


def tidy(text: str) -> str | None:
    """An answer without wrapping and without a half sentence, or None if it is no answer."""
    text = re.sub(r"\s+", " ", text).strip(_MARKDOWN)
    if text.startswith(tuple(_QUOTES)):
        text = text.strip(_QUOTES)
    whole = _SENTENCES.match(text)
    if whole is None or _REFUSAL.match(text):
        return None
    words = whole[0].split()
    if len(words) < MIN_WORDS or len({w.lower() for w in words}) < MIN_DIFFERENT_WORDS * len(words):
        return None
    return whole[0]


def kept(answers: Sequence[Answer]) -> list[Answer]:
    """The answers that are answers, tidied, each wording once for a title."""
    tidied = [Answer(a.title, a.persona, text) for a in answers if (text := tidy(a.text))]
    return list({(answer.title, answer.text): answer for answer in reversed(tidied)}.values())[::-1]


def _resume(request: Request, path: Path) -> list[list[str]]:
    """The chunks that `path` holds; it is cut after the last whole one, or begun."""
    sampling = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": TEMPERATURE, "top_p": TOP_P}
    first = _line(request._asdict() | sampling)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text.splitlines(keepends=True)
    if whole and not whole[-1].endswith("\n"):
        whole.pop()
    if whole and whole[0] != first:
        raise FspoError(
            f"{path}: holds the answers of a run with other settings. Delete it to begin again, "
            "or choose another place with --out."
        )
    write_text(path, "".join(whole or [first]))
    return [json.loads(line)["texts"] for line in whole[1:]]


def _line(value: Mapping[str, Any]) -> str:
    # ASCII only: a killed run leaves no half character, and only "\n" ends a line.
    return json.dumps(value) + "\n"


def _chunk_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])
