"""Iterative persona refinement: a description grows until it decides what its user prefers.

For one pair after the other: where the labeller, given the description, is undecided, a coin is
tossed, a model is asked what that choice says about the user, and its sentence joins the
description. So the user becomes somebody whose labels agree with each other (the paper, section on
structure). The growth is kept, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fspo.judging.verdicts import Comparison, Judge, Verdict
from fspo.llm.asking import ask_readable
from fspo.llm.quoting import quoted, sentences
from fspo.llm.requests import LanguageModel, Request
from fspo.preferences.records import User

TRIES = 3
LONGEST = 30  # words that a step adds

Pair = tuple[str, str, str]  # question, first answer, second answer


@dataclass(frozen=True)
class Step:
    """One sentence that joined a description, and the choice that it came from."""

    question: str
    chosen: str
    rejected: str
    probability: float  # of `chosen`, before the sentence was there
    added: str


@dataclass
class Growth:
    """A user whose description is on its way, and the guidelines that fit it as it is now."""

    user: User
    steps: list[Step] = field(default_factory=list)
    guidelines: str = ""

    @property
    def text(self) -> str:
        """The description so far."""
        return self.user.description


def refine(
    users: Sequence[User],
    pairs: Sequence[Sequence[Pair]],
    labeller: Judge,
    thinker: LanguageModel,
    *,
    undecided: float,
    generators: Sequence[np.random.Generator],
    description: str = "",
) -> list[Growth]:
    """Refines the descriptions of several users, side by side.

    Args:
        users: as they are now.
        pairs: for each user, the pairs to refine on, in order; as many for each.
        labeller: who labels, given a description.
        thinker: who says what a choice says about a user.
        undecided: a label less probable than this decides nothing.
        generators: each user's, which toss the coins.
        description: what progress is shown as.
    """
    grown = [Growth(user) for user in users]
    turns = min(map(len, pairs), default=0)
    for turn in range(turns):
        shown = f"{description}, pair {turn + 1} of {turns}" if description else ""
        asked = [Comparison(one.user, *own[turn]) for one, own in zip(grown, pairs, strict=True)]
        verdicts = labeller.judge(asked, description=shown)
        open_cases = []
        for number, (comparison, verdict) in enumerate(zip(asked, verdicts, strict=True)):
            heads = bool(generators[number].random() < 0.5)  # tossed always: draws stay in step
            if not _decides(verdict, undecided):
                open_cases.append((number, comparison, heads, verdict))
        requests = [_request(comparison, heads) for _, comparison, heads, _ in open_cases]
        sentences = ask_readable(thinker, requests, read_sentence, TRIES, shown)
        for (number, c, heads, verdict), (sentence, _) in zip(open_cases, sentences, strict=True):
            if sentence and sentence not in grown[number].text:
                grown[number] = _with(grown[number], c, heads, verdict, sentence)
    return grown


def _decides(verdict: Verdict, undecided: float) -> bool:
    sure = max(verdict.probability, 1 - verdict.probability) >= undecided
    return verdict.outcome == "clear" and sure


def _with(one: Growth, c: Comparison, heads: bool, verdict: Verdict, sentence: str) -> Growth:
    chosen, rejected = (c.first, c.second) if heads else (c.second, c.first)
    probability = verdict.probability if heads else 1 - verdict.probability
    step = Step(c.prompt, chosen, rejected, round(probability, 4), sentence)
    user = replace(one.user, description=f"{one.text} {sentence}")
    return Growth(user, [*one.steps, step])


def _request(c: Comparison, heads: bool) -> Request:
    chosen, rejected = (c.first, c.second) if heads else (c.second, c.first)
    text = (
        f"About a person we know this: {c.user.description}\n\n"
        f"The person asked:\n{quoted(c.prompt)}\n\n"
        f"The person liked this answer:\n{quoted(chosen)}\n\n"
        f"and did not like this one:\n{quoted(rejected)}\n\n"
        "What does this choice say about the person that we did not know? Write one short sentence "
        'that begins with "They".'
    )
    return Request((("user", text),), 48, temperature=0.8, top_p=0.95, purpose="refinements")


def read_sentence(text: str) -> str | None:
    """The sentence about the person in a model's answer, or None if there is none."""
    return sentences(text, 1, LONGEST)
