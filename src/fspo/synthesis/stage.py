"""The state of a run while it works: its models, and what each split is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fspo.judging.verdicts import Comparison, Judge
from fspo.llm.requests import LanguageModel
from fspo.synthesis import checks
from fspo.synthesis.answers import Answer
from fspo.synthesis.pairing import Draw, pairs
from fspo.synthesis.population import Member
from fspo.synthesis.prompts import Question

AT_ONCE = 16_000  # comparisons that are held in memory

Answers = dict[str, list[Answer]]  # by the question's text


class Cast(NamedTuple):
    """The models that do the work.

    Attributes:
        writer: answers.
        thinker: grows and refines.
        labeller: labels.
        refusals: how many requests servers would not answer so far, by their reasons.
    """

    writer: LanguageModel
    thinker: LanguageModel
    labeller: Judge
    refusals: Callable[[], Mapping[str, int]] = dict


@dataclass
class Stage:
    """The contents of one split.

    Attributes:
        questions: what its users are asked.
        members: its users.
        answers: to every question.
        probes: pairs that all of its users are asked about, to compare them.
        probabilities: of shape (users, probes), before and after refinement: that the first
            answer is preferred.
        decided: how many labels of the probes were clear, when they were last asked for.
    """

    questions: list[Question]
    members: list[Member]
    answers: Answers
    probes: list[Draw]
    probabilities: dict[str, checks.Matrix] = field(default_factory=dict)
    decided: int = 0


def own_pairs(member: Member, stage: Stage, seed: int) -> Iterator[Draw]:
    """A user's pairs, the same whenever they are asked for."""
    return pairs(stage.answers, np.random.default_rng([seed, 3, member.number]))


def comparison(member: Member, draw: Draw) -> Comparison:
    """Returns what a labeller is asked about a pair for a user."""
    question, one, other = draw
    return Comparison(member.growth.user, question, one.text, other.text, member.growth.guidelines)


def parts(members: Sequence[Member], each: int) -> Iterator[Sequence[Member]]:
    """The users in parts: a part has `AT_ONCE` comparisons, where a user has `each`."""
    size = max(1, AT_ONCE // each)
    return (members[start : start + size] for start in range(0, len(members), size))
