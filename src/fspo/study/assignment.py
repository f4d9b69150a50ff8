"""Draws what each participant sees, from the study's seed and the participant's number alone.

Comparisons are balanced: within a participant their counts differ by one at most, and so do they
over all participants together. Left and right are drawn for every item by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fspo.preferences.records import Preference, plain_text, without_repetition
from fspo.study.definition import Check, Study
from fspo.study.reading import Pools

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Item:
    """One choice between two answers, as one participant sees it.

    Attributes:
        place: in the participant's order, from 0.
        stage: "practice", "label" or "judge".
        question: what both sides answer.
        left: the answer on the left; "" where a method is still to write it.
        right: the answer on the right.
        left_method: whose answer is on the left, where methods are judged.
        right_method: whose is on the right.
        right_choice: of an attention check, the side that is right; else "".
        source: where the pair came from, for the export.
    """

    place: int
    stage: str
    question: str
    left: str = ""
    right: str = ""
    left_method: str = ""
    right_method: str = ""
    right_choice: str = ""
    source: str = ""


def assign(study: Study, pools: Pools, language: str, number: int) -> list[Item]:
    """All items of one participant in order: the same for the same seed and number.

    Args:
        study: what is asked.
        pools: what is drawn from, in the participant's language.
        language: the participant's.
        number: of the participant, from 0, which also says whose turn the odd comparison is.
    """
    rng = np.random.default_rng([study.seed, number])
    wording = study.languages[language]
    practice = [
        _sided(rng, Item(0, "practice", p.question, *p.answers, source=f"practice {n}"))
        for n, p in enumerate(wording.practice, 1)
    ]
    labeled = _labeled(study, pools, rng)
    taken = {plain_text(item.question) for item in labeled}
    left = [question for question in pools.questions if plain_text(question) not in taken]
    judged = _judged(study, left, number, rng)
    stages = [practice]
    for stage, items in (("label", labeled), ("judge", judged)):
        stages.append(_with_checks(items, [c for c in wording.checks if c.stage == stage], rng))
    return [replace(item, place=n) for n, item in enumerate(i for own in stages for i in own)]


def comparisons_of(count: int, questions: int, number: int) -> list[int]:
    """Returns which of `count` comparisons a participant judges how often, before shuffling.

    Each comes `questions // count` times; the rest goes round from participant to participant.
    """
    each, rest = divmod(questions, count)
    odd = [(number * rest + turn) % count for turn in range(rest)]
    return [comparison for comparison in range(count) for _ in range(each)] + odd


def _labeled(study: Study, pools: Pools, rng: np.random.Generator) -> list[Item]:
    order = rng.permutation(len(pools.pairs))
    drawn: Sequence[Preference] = without_repetition(
        [pools.pairs[index] for index in order], study.label_pairs
    )
    return [
        _sided(rng, Item(0, "label", p.prompt, p.chosen, p.rejected, source=p.row)) for p in drawn
    ]


def _judged(
    study: Study, questions: Sequence[str], number: int, rng: np.random.Generator
) -> list[Item]:
    chosen = rng.choice(len(questions), study.judge_questions, replace=False)
    which = comparisons_of(len(study.comparisons), study.judge_questions, number)
    pairs = [study.comparisons[which[index]] for index in rng.permutation(len(which))]
    return [
        _sided(rng, Item(0, "judge", questions[q], left_method=one, right_method=other))
        for q, (one, other) in zip(chosen, pairs, strict=True)
    ]


def _with_checks(
    items: Sequence[Item], checks: Sequence[Check], rng: np.random.Generator
) -> list[Item]:
    """Puts the checks among the items, never first."""
    found = list(items)
    for number, check in enumerate(checks, 1):
        item = Item(0, check.stage, check.question, check.right, check.wrong,
                    right_choice="left", source=f"check {number}")  # fmt: skip
        found.insert(int(rng.integers(1, len(found) + 1)), _sided(rng, item))
    return found


def _sided(rng: np.random.Generator, item: Item) -> Item:
    """The item as it is, or with its sides exchanged: a fair coin."""
    return _exchanged(item) if rng.integers(2) else item


def _exchanged(item: Item) -> Item:
    return replace(
        item,
        left=item.right,
        right=item.left,
        left_method=item.right_method,
        right_method=item.left_method,
        right_choice={"left": "right", "right": "left", "": ""}[item.right_choice],
    )
