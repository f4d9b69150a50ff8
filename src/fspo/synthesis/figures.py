"""The figures of `checks.json`, and the lines of `growth.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fspo.llm.embedding import Embedder
from fspo.preferences.logistic import entropy
from fspo.recipe import EngineRecipe
from fspo.synthesis import checks, personas, prompts
from fspo.synthesis.population import Member
from fspo.synthesis.stage import Stage


def figures_of(
    recipe: EngineRecipe, stages: Mapping[str, Stage], tally: checks.Tally, embedder: Embedder
) -> dict[str, Any]:
    """Returns what `checks.json` says, beside the number of preferences.

    Args:
        recipe: how much of everything.
        stages: what was made, by split.
        tally: the labels, counted.
        embedder: tells what is alike.
    """
    answers = {q: own for stage in stages.values() for q, own in stage.answers.items()}
    train = stages["train"]
    last = train.probabilities.get("after", train.probabilities["before"])
    questions = {split: [q.text for q in stage.questions] for split, stage in stages.items()}
    people = {split: [m.growth.text for m in stage.members] for split, stage in stages.items()}
    return {
        "users": {split: len(stage.members) for split, stage in stages.items()},
        "questions": {split: len(stage.questions) for split, stage in stages.items()},
        "grown_questions": sum(q.origin == "grown" for s in stages.values() for q in s.questions),
        "answers": sum(map(len, answers.values())),
        "writers": dict(Counter(a.model for own in answers.values() for a in own).most_common()),
        "similarity": checks.similarity(answers, embedder),
        "entropy": {
            moment: round(float(entropy(probabilities).mean()), 4)
            for moment, probabilities in train.probabilities.items()
        },
        "growth": round(float(np.mean([len(m.growth.steps) for m in train.members])), 2),
        "disagreement": checks.summary_of(
            checks.disagreement(last), recipe.disagreement, sum(m.remade for m in train.members)
        ),
        **tally.figures(),
        "leaks": {
            "questions": checks.leaks(questions, embedder, prompts.ALIKE),
            "users": checks.leaks(people, embedder, personas.ALIKE),
        },
    }


def growth_line(member: Member) -> bytes:
    """Returns how a user's description came about, as a line of JSON."""
    growth = member.growth
    line = {
        "user_id": member.user_id,
        "seed": member.persona.description,
        "remade": member.remade,
        "steps": [asdict(step) for step in growth.steps],
        "description": growth.text,
        "guidelines": growth.guidelines,
    }
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def json_bytes(value: Any) -> bytes:
    """A file of JSON that can be read."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
