"""Questions: a domain's curated ones, split before anything else, and more that a model grows.

A grown question belongs to the split of those that it was grown from. One that is nearly the same
as another, of whichever split, is left out; test questions are settled first, then validation,
so that no training question is nearly a test question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo.errors import FspoError
from fspo.llm.embedding import Embedder, Unlike
from fspo.llm.quoting import one_line
from fspo.llm.requests import LanguageModel, Request, ask

SPLITS = ("test", "validation", "train")  # in the order in which questions are settled
ALIKE = 0.9  # two questions of a higher cosine similarity are the same question
SHOWN = 5  # questions that the model is shown before it writes another
ROUNDS = 4  # how often the model is asked for the questions that are still missing


class Question(NamedTuple):
    """Something that users are asked about."""

    text: str
    topic: str
    origin: str  # "curated" or "grown"


def split_counts(count: int, validation: float, test: float) -> dict[str, int]:
    """Returns how many of `count` go to each split; at least one to each that has a share."""
    tested = max(1, round(count * test))
    # Both shares can be rounded up to all that there is.
    validated = min(max(1, round(count * validation)), count - tested - 1) if validation else 0
    return {"test": tested, "validation": validated, "train": count - tested - validated}


def split_questions(
    by_topic: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    embedder: Embedder,
    generator: np.random.Generator,
) -> dict[str, list[Question]]:
    """Draws curated questions evenly over topics, and splits them.

    Returns:
        For each split at most `counts[split]` questions; if there are too few, all splits have
        their share of them.

    Raises:
        FspoError: if there are too few for every split to have one.
    """
    lists = {topic: list(generator.permutation(list(texts))) for topic, texts in by_topic.items()}
    rounds = max(map(len, lists.values()))
    in_turn = [
        Question(str(texts[turn]), topic, "curated")
        for turn in range(rounds)
        for topic, texts in lists.items()
        if turn < len(texts)
    ]
    whole = sum(counts.values())
    drawn = in_turn[: min(whole, len(in_turn))]
    unlike = set(Unlike(embedder, ALIKE).keep([q.text for q in drawn]))
    drawn = [q for q in drawn if q.text in unlike]
    shares = {s: max(bool(counts[s]), counts[s] * len(drawn) // whole) for s in SPLITS}
    shares["train"] = len(drawn) - shares["test"] - shares["validation"]
    if shares["train"] < 1:
        raise FspoError(f"{len(drawn)} different questions are too few to split; add some")
    order = iter(generator.permutation(len(drawn)))
    return {split: [drawn[next(order)] for _ in range(shares[split])] for split in SPLITS}


def grow_questions(
    questions: Mapping[str, Sequence[Question]],
    counts: Mapping[str, int],
    model: LanguageModel,
    embedder: Embedder,
    generator: np.random.Generator,
) -> dict[str, list[Question]]:
    """Lets a model write further questions, until each split has `counts[split]` of them.

    If it runs out of ideas within `ROUNDS` rounds, there are fewer.
    """
    unlike = Unlike(embedder, ALIKE)
    for split in SPLITS:
        unlike.keep([question.text for question in questions[split]])
    grown = {split: list(questions[split]) for split in SPLITS}
    for split in SPLITS:
        for turn in range(ROUNDS):
            missing = counts[split] - len(grown[split])
            if missing <= 0:
                break
            asked = [_grow_request(questions[split], turn, generator) for _ in range(missing)]
            replies = ask(model, [request for _, request in asked], "Writing questions")
            topics: dict[str, str] = {}
            for (topic, _), reply in zip(asked, replies, strict=True):
                if text := read_question(reply.text):
                    topics.setdefault(text, topic)
            kept = unlike.keep(list(topics))[:missing]
            grown[split] += [Question(text, topics[text], "grown") for text in kept]
    return grown


def _grow_request(
    questions: Sequence[Question], turn: int, generator: np.random.Generator
) -> tuple[str, Request]:
    first = questions[int(generator.integers(len(questions)))]
    alike = [q for q in questions if q.topic == first.topic]
    shown = generator.permutation(len(alike))[:SHOWN]
    listed = "\n".join(f"- {alike[place].text}" for place in shown)
    text = (
        f"Here are questions on one subject, {first.topic.replace('_', ' ').replace('-', ' ')}.\n"
        f"{listed}\n"
        "Write one more question on this subject, about something else, that anybody could ask and "
        "that has nothing to do with contested values or politics. Write only the question."
    )
    return first.topic, Request((("user", text),), 40, seed=turn, purpose="questions")


def read_question(text: str) -> str | None:
    """The question or request in a model's answer, or None if there is none."""
    for line in text.splitlines():
        line = one_line(re.sub(r"^\s*([-*•]|\d+[.)])\s*", "", line)).strip('"*_ ')
        asked = re.match(r"[^?]{8,160}\?", line) or re.fullmatch(r"Write [^?]{8,160}\.", line)
        if asked:
            return asked[0]
    return None
