"""Makes a described domain's preferences: the paper's data pipeline, from top to bottom.

Questions and users are split; questions and users are grown; every question is answered in several
manners; descriptions are refined until they decide; users are compared, and odd ones are remade;
every user labels pairs. Nothing is kept on the way but the answers of the models (see
`fspo.llm.store`): run again, it goes the same way, and asks only for what it has not been told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fspo.console import track
from fspo.domains.described import Described
from fspo.errors import FspoError
from fspo.llm.requests import LanguageModel
from fspo.preferences.records import Preference
from fspo.preferences.streaming import Columns, stream_preferences
from fspo.recipe import EngineRecipe
from fspo.synthesis import checks
from fspo.synthesis.answers import Answer, write_answers
from fspo.synthesis.embedding import Embedder
from fspo.synthesis.guidelines import guide
from fspo.synthesis.judging import Comparison, Labeller, Verdict
from fspo.synthesis.pairing import Draw, pairs
from fspo.synthesis.population import Member, populate
from fspo.synthesis.prompts import SPLITS, Question, grow_questions, split_counts, split_questions
from fspo.synthesis.refining import Growth, refine

BLOCK = 16  # users who are worked on side by side
ROUNDS = 3  # how often a user is asked about more pairs in the place of those that were dropped
COLUMNS: Columns = {
    "topic": "string",
    "probability": "float64",
    "chosen_model": "string",
    "rejected_model": "string",
    "chosen_manner": "string",
    "rejected_manner": "string",
}

Answers = dict[str, list[Answer]]  # by the question's text


class Cast(NamedTuple):
    """Who does the work: writers answer, the thinker grows and refines, the labeller labels."""

    writer: LanguageModel
    thinker: LanguageModel
    labeller: Labeller


@dataclass
class Stage:
    """What one split is made of.

    Attributes:
        questions: what its users are asked.
        members: its users.
        answers: to every question.
        probes: pairs that all of its users are asked about, to compare them.
        probabilities: of shape (users, probes), before and after refinement: that the first
            answer is preferred.
        remade: how many times users were remade.
    """

    questions: list[Question]
    members: list[Member]
    answers: Answers
    probes: list[Draw]
    probabilities: dict[str, checks.Matrix] = field(default_factory=dict)
    remade: int = 0


def make(
    recipe: EngineRecipe, domain: Described, cast: Cast, embedder: Embedder, out: Path, seed: int
) -> dict[str, Any]:
    """Writes a preference dataset to the folder `out`, with its checks.

    Args:
        recipe: how much of everything.
        domain: what is asked and how users differ.
        cast: who does the work.
        embedder: tells what is alike.
        out: the folder to write; a dataset that it holds is replaced.
        seed: what every random choice depends on.

    Returns:
        The figures of `checks.json`.

    Raises:
        FspoError: if there is too little to work with, or a model does not answer.
    """
    stages = prepare(recipe, domain, cast, embedder, seed)
    for split, stage in stages.items():
        _refine_all(recipe, domain, cast, stage, split, seed)
    tally = checks.Tally()
    with stream_preferences(out, COLUMNS) as stream:
        members = [member for split in SPLITS for member in stages[split].members]
        blocks = [(s, b) for s in SPLITS for b in _blocks(stages[s].members)]
        for split, block in track(blocks, "Labelling", len(blocks)):
            found = _label(recipe, cast.labeller, block, stages[split], tally, seed)
            for member, preferences in zip(block, found, strict=True):
                stream.add(member.user_id, preferences)
        figures = _figures(recipe, stages, tally, embedder) | {"preferences": stream.count}
        from fspo.synthesis.described_card import described_card, plots

        beside = {
            "checks.json": _json_bytes(figures),
            "growth.jsonl": b"".join(_growth_line(member) for member in members),
        }
        beside |= {f"plots/{name}": content for name, content in plots(figures).items()}
        card = described_card(domain, recipe, cast, figures, seed)
        stream.finish([member.user() for member in members], card, beside)
    return figures


def prepare(
    recipe: EngineRecipe, domain: Described, cast: Cast, embedder: Embedder, seed: int
) -> dict[str, Stage]:
    """Splits first, then grows questions and users, and has every question answered."""
    generator = np.random.default_rng([seed, 0])
    counts = split_counts(recipe.questions, recipe.validation, recipe.test)
    questions = split_questions(domain.questions, counts, embedder, generator)
    questions = grow_questions(questions, counts, cast.thinker, embedder, generator)
    members = populate(recipe, domain, cast.thinker, embedder, seed)
    stages = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng([seed, 2, number])
        if not members[split] or not questions[split]:
            stages[split] = Stage(questions[split], [], {}, [])
            continue
        answers = write_answers(
            domain,
            questions[split],
            [member.persona for member in members[split]],
            cast.writer,
            each=recipe.answers_per_question,
            views=recipe.views,
            max_tokens=recipe.max_tokens,
            generator=generator,
        )
        probes = list(islice(pairs(answers, generator), recipe.probes))
        if not probes:
            raise FspoError(
                f"no question of the {split} split got two different answers that can be used: "
                "take a stronger model as the writer."
            )
        stages[split] = Stage(questions[split], members[split], answers, probes)
    return stages


def _refine_all(
    recipe: EngineRecipe, domain: Described, cast: Cast, stage: Stage, split: str, seed: int
) -> None:
    """Refines every user of a split, and begins again with those who are too odd or too alike."""
    if not stage.members:
        return
    _guide(recipe, domain, cast, stage.members)
    stage.probabilities["before"] = _probe(recipe, cast.labeller, stage, f"{split}: comparing")
    if recipe.refinements:
        todo = stage.members
        for attempt in range(recipe.remakes + 1):
            blocks = list(_blocks(todo))
            for block in track(blocks, f"{split}: refining", len(blocks)):
                _refine(recipe, cast, block, stage, attempt, seed)
            _guide(recipe, domain, cast, todo)
            after = _probe(recipe, cast.labeller, stage, f"{split}: comparing again")
            odd = checks.outside(checks.disagreement(after), recipe.disagreement)
            todo = [stage.members[place] for place in odd]
            if not todo or attempt == recipe.remakes:
                break
            stage.remade += len(todo)
        stage.probabilities["after"] = after


def _guide(recipe: EngineRecipe, domain: Described, cast: Cast, members: Sequence[Member]) -> None:
    """Writes guidelines for each user anew, from the description as it is now."""
    if recipe.labeller == "measured" or not recipe.guidelines:
        return
    readers = [member.reader for member in members]
    guided = guide(readers, domain.guidelines, cast.thinker, "Writing guidelines")
    for member, reader in zip(members, guided, strict=True):
        member.growth.reader = reader


def _refine(
    recipe: EngineRecipe, cast: Cast, block: Sequence[Member], stage: Stage, attempt: int, seed: int
) -> None:
    drawn = [islice(_own_pairs(member, stage, seed), recipe.refinements) for member in block]
    grown = refine(
        [member.growth.reader._replace(description=member.persona.description) for member in block],
        [[(q, one.text, other.text) for q, one, other in own] for own in drawn],
        cast.labeller,
        cast.thinker,
        undecided=recipe.undecided,
        generators=[np.random.default_rng([seed, 4, m.number, attempt]) for m in block],
    )
    for member, growth in zip(block, grown, strict=True):
        member.growth, member.remade = growth, attempt


def _probe(
    recipe: EngineRecipe, labeller: Labeller, stage: Stage, description: str
) -> checks.Matrix:
    """What all users of a split say of the same pairs: (users, probes), first preferred."""
    rows = []
    blocks = list(_blocks(stage.members))
    for block in track(blocks, description, len(blocks)):
        asked = [_comparison(member, probe) for member in block for probe in stage.probes]
        draws = [labeller.label(asked, draw) for draw in range(recipe.repeats)]
        rows += [float(np.mean([v.probability for v in own])) for own in zip(*draws, strict=True)]
    return np.array(rows).reshape(len(stage.members), len(stage.probes))


def _label(
    recipe: EngineRecipe,
    labeller: Labeller,
    block: Sequence[Member],
    stage: Stage,
    tally: checks.Tally,
    seed: int,
) -> list[list[Preference]]:
    """The preferences of each user of a block: what was dropped is made up for in `ROUNDS`."""
    topics = {question.text: question.topic for question in stage.questions}
    waiting = [_own_pairs(member, stage, seed) for member in block]
    found: list[list[Preference]] = [[] for _ in block]
    for _ in range(ROUNDS):
        drawn = [
            (place, draw)
            for place, own in enumerate(waiting)
            for draw in islice(own, recipe.preferences_per_user - len(found[place]))
        ]
        verdicts = labeller.label([_comparison(block[place], draw) for place, draw in drawn])
        for (place, draw), verdict in zip(drawn, verdicts, strict=True):
            tally.add(verdict, draw[1].text, draw[2].text)
            if verdict.outcome == "clear":
                found[place].append(_preference(draw, topics[draw[0]], verdict))
    return found


def _own_pairs(member: Member, stage: Stage, seed: int) -> Iterator[Draw]:
    """A user's pairs, the same whenever they are asked for."""
    return pairs(stage.answers, np.random.default_rng([seed, 3, member.number]))


def _comparison(member: Member, draw: Draw) -> Comparison:
    question, one, other = draw
    return Comparison(member.reader, question, one.text, other.text)


def _preference(draw: Draw, topic: str, verdict: Verdict) -> Preference:
    question, one, other = draw
    is_first = verdict.probability > 0.5
    chosen, rejected = (one, other) if is_first else (other, one)
    extra = {
        "topic": topic,
        "probability": round(max(verdict.probability, 1 - verdict.probability), 4),
        "chosen_model": chosen.model,
        "rejected_model": rejected.model,
        "chosen_manner": chosen.manner,
        "rejected_manner": rejected.manner,
    }
    return Preference(question, chosen.text, rejected.text, extra=extra)


def _blocks(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    return (members[start : start + BLOCK] for start in range(0, len(members), BLOCK))


def _figures(
    recipe: EngineRecipe, stages: Mapping[str, Stage], tally: checks.Tally, embedder: Embedder
) -> dict[str, Any]:
    answers = {q: own for stage in stages.values() for q, own in stage.answers.items()}
    train = stages["train"]
    last = train.probabilities.get("after", train.probabilities["before"])
    questions = {split: [q.text for q in stage.questions] for split, stage in stages.items()}
    return {
        "users": {split: len(stage.members) for split, stage in stages.items()},
        "questions": {split: len(stage.questions) for split, stage in stages.items()},
        "grown_questions": sum(q.origin == "grown" for s in stages.values() for q in s.questions),
        "answers": sum(map(len, answers.values())),
        "writers": dict(Counter(a.model for own in answers.values() for a in own).most_common()),
        "similarity": checks.similarity(answers, embedder),
        "entropy": {
            moment: round(float(checks.entropy(probabilities).mean()), 4)
            for moment, probabilities in train.probabilities.items()
        },
        "growth": round(float(np.mean([len(m.growth.steps) for m in train.members])), 2),
        "disagreement": checks.summary_of(
            checks.disagreement(last), recipe.disagreement, train.remade
        ),
        **tally.figures(),
        "leaks": checks.leaks(questions, embedder),
    }


def _growth_line(member: Member) -> bytes:
    growth: Growth = member.growth
    line = {
        "user_id": member.user_id,
        "seed": member.persona.description,
        "remade": member.remade,
        "steps": [asdict(step) for step in growth.steps],
        "description": growth.text,
        "guidelines": growth.reader.guidelines,
    }
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
