"""Asks a model for answers, and keeps what it wrote in a file that an interrupted run goes on from.

The file's first line says what was asked for; each further line is one chunk: one persona, some
titles. What does not fit its persona is asked for again, in further chunks. A chunk's random
numbers depend on the seed and on its number alone, so a run that was killed writes the same bytes
when it is started again as one that was not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fspo.console import say, track
from fspo.errors import FspoError
from fspo.files import write_text
from fspo.fingerprints import of_model_folder
from fspo.llm.local import Conversation, LocalModel

TITLES_IN_A_CHUNK = 48
MAX_NEW_TOKENS = 44
TEMPERATURE = 0.8
TOP_P = 0.95
TRIES = 3  # how often a persona is asked about a title, until it writes what fits
MIN_WORDS = 3
MIN_DIFFERENT_WORDS = 0.4  # of all words; what a model writes that is caught in a loop has fewer

REFUSAL = re.compile(r"(i'm|i am) sorry, (but )?(i|as)\b|i (can't|cannot) |as an ai\b", re.I)
_SENTENCES = re.compile(r"\A.*[.!?…][\"'”’)]*", re.S)
_MARKDOWN = " *_#`>"
_QUOTES = "\"'“”‘’"


class Answer(NamedTuple):
    """A review that the model wrote about a title, in the manner of a persona."""

    title: str
    persona: str
    text: str


class Request(NamedTuple):
    """A request to the model.

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


def ask(
    request: Request,
    conversation: Callable[[str, str], Conversation],
    fits: Callable[[str, str], bool],
    model: Callable[[], LocalModel],
    path: Path,
) -> tuple[list[Answer], int]:
    """Each persona's answer about each title; where none would do in `TRIES`, there is none.

    Args:
        request: what is asked for.
        conversation: what to say to the model, given a persona and a title.
        fits: whether a text is what a persona was to write.
        model: loads the model; called only if there is something left to ask.
        path: the file that keeps all that was written; what it holds is not asked for again.

    Returns:
        The answers that will do, tidied, and how many were written in all.

    Raises:
        FspoError: if `path` holds answers to another request.
    """
    written = _resume(request, path)
    if written:
        say(f"{path}: {len(written)} chunks of answers are there already")
    loaded = cache(model)
    found: dict[tuple[str, str], str] = {}
    missing = [(persona, title) for persona in request.personas for title in request.titles]
    done = 0
    for attempt in range(TRIES):
        chunks = _chunks(missing)
        what = "Asking again for answers that did not fit" if attempt else "Writing answers"
        for persona, titles in track(chunks, what, len(chunks)):
            if done == len(written):
                asked = [conversation(persona, title) for title in titles]
                written.append(_write(loaded(), asked, _chunk_seed(request.seed, done)))
                with path.open("a", encoding="utf-8") as file:
                    file.write(_line({"persona": persona, "titles": titles, "texts": written[-1]}))
            for title, text in zip(titles, written[done], strict=True):
                if (tidied := tidy(text)) and fits(persona, tidied):
                    found[persona, title] = tidied
            done += 1
        missing = [job for job in missing if job not in found]
    answers = [
        Answer(title, persona, found[persona, title])
        for persona in request.personas
        for title in request.titles
        if (persona, title) in found
    ]
    return _different(answers), sum(map(len, written))


def _chunks(jobs: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """(persona, titles) of every chunk: a chunk's conversations all begin in the same way."""
    titles_of: dict[str, list[str]] = {}
    for persona, title in jobs:
        titles_of.setdefault(persona, []).append(title)
    return [
        (persona, titles[start : start + TITLES_IN_A_CHUNK])
        for persona, titles in titles_of.items()
        for start in range(0, len(titles), TITLES_IN_A_CHUNK)
    ]


def _write(llm: LocalModel, asked: Sequence[Conversation], seed: int) -> list[str]:
    return llm.chat(
        asked,
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        seed=seed,
        batch_size=TITLES_IN_A_CHUNK,
    )


def tidy(text: str) -> str | None:
    """An answer without wrapping and without a half sentence, or None if it is no answer."""
    text = re.sub(r"\s+", " ", text).strip(_MARKDOWN)
    if text.startswith(tuple(_QUOTES)):
        text = text.strip(_QUOTES)
    whole = _SENTENCES.match(text)
    if whole is None or REFUSAL.match(text):
        return None
    return whole[0] if says_something(whole[0]) else None


def says_something(text: str) -> bool:
    """Returns whether `text` is long enough, and not the same words again and again."""
    words = text.split()
    different = len({word.lower() for word in words})
    return len(words) >= MIN_WORDS and different >= MIN_DIFFERENT_WORDS * len(words)


def _different(answers: Sequence[Answer]) -> list[Answer]:
    """The answers, each wording once for a title."""
    return list({(a.title, a.text): a for a in reversed(answers)}.values())[::-1]


def _resume(request: Request, path: Path) -> list[list[str]]:
    """The chunks that `path` holds; it is cut after the last whole one, or begun."""
    sampling = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": TEMPERATURE, "top_p": TOP_P}
    settings = request._asdict() | sampling
    content = of_model_folder(request.model)
    first = _line(settings | ({"fingerprint": content} if content else {}))
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text.splitlines(keepends=True)
    if whole and not whole[-1].endswith("\n"):
        whole.pop()
    # Earlier versions told a model by its name alone.
    if whole and whole[0] not in (first, _line(settings)):
        raise FspoError(
            f"{path}: holds the answers of a run with other settings, or of another model. Delete "
            "it to begin again, or choose another place with --out."
        )
    write_text(path, "".join(whole or [first]))
    return [json.loads(line)["texts"] for line in whole[1:]]


def _line(value: Mapping[str, Any]) -> str:
    # ASCII only: a killed run leaves no half character, and only "\n" ends a line.
    return json.dumps(value) + "\n"


def _chunk_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])
