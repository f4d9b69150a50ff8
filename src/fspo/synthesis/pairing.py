"""Pairs answers for a user: every question in turn, in the user's own order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from fspo.synthesis.answers import Answer

Draw = tuple[str, Answer, Answer]  # question, the answer shown first, the other


def pairs(
    answers: Mapping[str, Sequence[Answer]], generator: np.random.Generator
) -> Iterator[Draw]:
    """Every pair of different answers to a question once, in random order.

    A question comes again only after all others have come, so that the first pairs of a user are
    about different questions.

    Args:
        answers: to each question.
        generator: draws the order, and which answer stands first.
    """
    waiting = {q: list(combinations(own, 2)) for q, own in answers.items() if len(own) > 1}
    while waiting:
        questions = list(waiting)
        for place in generator.permutation(len(questions)):
            question = questions[place]
            left = waiting[question]
            one, other = left.pop(int(generator.integers(len(left))))
            if generator.random() < 0.5:
                one, other = other, one
            if not left:
                del waiting[question]
            yield question, one, other
