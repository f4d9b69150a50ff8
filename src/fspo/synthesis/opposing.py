"""Labels in opposition: every pair goes to two users who are sure of opposite things.

Users come in fours who want different things (`population.opposites`). About each question
the four are asked about all of its pairs, and fall into two couples, anew for each question; a
question that does not divide both couples is passed over. So the rows of the four are about the
same questions, one by one, which training that is `paired` makes use of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from fspo.judging.verdicts import Judge, Verdict
from fspo.synthesis.checks import Tally
from fspo.synthesis.coupling import couple
from fspo.synthesis.pairing import Draw
from fspo.synthesis.population import Member
from fspo.synthesis.stage import Stage, comparison

Labelled = tuple[Draw, Verdict]


def label_opposed(
    members: Sequence[Member],
    stage: Stage,
    labeller: Judge,
    limit: int,
    tally: Tally,
    seed: int,
    split: str,
) -> Iterator[tuple[Member, list[Labelled]]]:
    """Each user with at most `limit` labeled pairs, one about a question.

    Where the last users are fewer than four, the first ones sit in with them: what those say there
    is not kept.

    Args:
        members: the users of a split.
        stage: the questions of that split and their answers.
        labeller: says what each of the four prefers.
        limit: the most pairs of a user.
        tally: counts every label.
        seed: what the draw of questions, couples and pairs depends on.
        split: its name, for progress.
    """
    for start in range(0, len(members), 4):
        own = members[start : start + 4]
        guests = [member for member in members if member not in own][: 4 - len(own)]
        four = [*own, *guests]
        if len(four) < 4:  # the whole split: nobody else is there to disagree with
            four = [four[place % len(four)] for place in range(4)]
        generator = np.random.default_rng([seed, 5, own[0].number])
        labelled = _label_four(four, stage, labeller, limit, tally, generator, split)
        yield from zip(own, labelled, strict=False)


def _label_four(
    four: Sequence[Member],
    stage: Stage,
    labeller: Judge,
    limit: int,
    tally: Tally,
    generator: np.random.Generator,
    split: str,
) -> list[list[Labelled]]:
    questions = list(stage.answers)
    order = [questions[place] for place in generator.permutation(len(questions))]
    found: list[list[Labelled]] = [[] for _ in four]
    for start in range(0, len(order), limit):
        # As many questions at once as preferences are missing at most, so that few are in vain.
        draws = [_draws(question, stage, generator) for question in order[start : start + limit]]
        asked = [comparison(member, d) for own in draws for d in own for member in four]
        shown = f"{split}: labelling, users from {four[0].user_id}"
        verdicts = iter(labeller.judge(asked, description=shown))
        for own in draws:
            labels = [[next(verdicts) for _ in four] for _ in own]
            for draw, given in zip(own, labels, strict=True):
                for verdict in given:
                    tally.add(verdict, draw[1].text, draw[2].text)
            if len(found[0]) < limit:
                for member, pair in _choices(labels, generator):
                    found[member].append((own[pair], labels[pair][member]))
        if len(found[0]) == limit:
            break
    return found


def _draws(question: str, stage: Stage, generator: np.random.Generator) -> list[Draw]:
    """All pairs of a question's answers; which stands first is drawn."""
    return [
        (question, *(two if generator.random() < 0.5 else two[::-1]))
        for two in combinations(stage.answers[question], 2)
    ]


def _choices(
    labels: Sequence[Sequence[Verdict]], generator: np.random.Generator
) -> list[tuple[int, int]]:
    """(member, pair) of each of four, given the labels of every pair by the four; or nothing."""

    def disputed(one: int, other: int) -> list[int]:
        return [
            pair
            for pair, given in enumerate(labels)
            if given[one].outcome == given[other].outcome == "clear"
            and (given[one].probability > 0.5) != (given[other].probability > 0.5)
        ]

    return [
        (member, pair)
        for one, other, pair in couple(disputed, generator)
        for member in (one, other)
    ]
