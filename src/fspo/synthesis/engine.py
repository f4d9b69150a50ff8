"""Makes a domain's preferences: the paper's data pipeline, from top to bottom.

Questions and users are split; questions and users are grown; every question is answered in several
manners; descriptions are refined until they decide; users are compared, and odd ones are remade;
every user labels pairs. Nothing is kept on the way but the answers of the models (see
`fspo.llm.store`): run again, it goes the same way, and asks only for what it has not been told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains.domain import Domain
from fspo.errors import FspoError
from fspo.preferences.records import Preference
from fspo.preferences.streaming import Columns, stream_preferences
from fspo.recipe import SynthesizeRecipe
from fspo.synthesis.answers import write_answers
from fspo.synthesis.checks import Tally
from fspo.synthesis.consistency import settle
from fspo.synthesis.embedding import Embedder
from fspo.synthesis.figures import figures_of, growth_line, json_bytes
from fspo.synthesis.judging import Labeller, Verdict
from fspo.synthesis.opposing import Labelled, label_opposed
from fspo.synthesis.pairing import Draw, pairs
from fspo.synthesis.personas import listed_personas
from fspo.synthesis.population import Member, from_personas, populate
from fspo.synthesis.prompts import SPLITS, grow_questions, split_counts, split_questions
from fspo.synthesis.stage import Cast, Stage, comparison, own_pairs, parts

ROUNDS = 3  # how often a user is asked about more pairs in the place of those that were dropped
COLUMNS: Columns = {
    "topic": "string",
    "probability": "float64",
    "chosen_model": "string",
    "rejected_model": "string",
    "chosen_manner": "string",
    "rejected_manner": "string",
}


def make(
    recipe: SynthesizeRecipe, domain: Domain, cast: Cast, embedder: Embedder, out: Path, seed: int
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
        settle(recipe, domain, cast, stage, split, seed)
        if stage.members and not stage.decided:
            raise FspoError(
                f"the labeller decides nothing: not one of the {len(stage.probes)} pairs that "
                f"the users of the {split} split were compared by got a clear label. Take a "
                "stronger labeller, a smaller margin, or, where the domain has measures, "
                "`--labeller measured`."
            )
    tally = Tally()
    with stream_preferences(out, COLUMNS) as stream:
        members = [member for split in SPLITS for member in stages[split].members]
        label, limit = label_opposed if recipe.opposed else _label, recipe.preferences_per_user
        for split, stage in stages.items():
            topics = {question.text: question.topic for question in stage.questions}
            found = label(stage.members, stage, cast.labeller, limit, tally, seed, split)
            for member, own in found:
                labelled = [_preference(draw, topics[draw[0]], verdict) for draw, verdict in own]
                stream.add(member.user_id, labelled)
        figures = figures_of(recipe, stages, tally, embedder) | {"preferences": stream.count}
        if refused := cast.refusals():
            figures["refused"] = dict(refused)
        from fspo.synthesis.card import card, plots

        beside = {
            "checks.json": json_bytes(figures),
            "growth.jsonl": b"".join(growth_line(member) for member in members),
        }
        beside |= {f"plots/{name}": content for name, content in plots(figures).items()}
        text = card(domain, recipe, cast, figures, seed)
        judge = recipe.domain if recipe.labeller == "measured" else None
        stream.finish([member.user() for member in members], text, beside, judge)
    return figures


def prepare(
    recipe: SynthesizeRecipe, domain: Domain, cast: Cast, embedder: Embedder, seed: int
) -> dict[str, Stage]:
    """Splits first, then grows questions and users, and has every question answered."""
    generator = np.random.default_rng([seed, 0])
    counts = split_counts(recipe.questions, recipe.validation, recipe.test)
    questions = split_questions(domain.questions, counts, embedder, generator)
    questions = grow_questions(questions, counts, cast.thinker, embedder, generator)
    members = populate(recipe, domain, cast.thinker, embedder, seed)
    # Where users have the domain's personas, answers are written for these in every split.
    readers = listed_personas(domain) if from_personas(recipe, domain) else []
    stages = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng([seed, 2, number])
        if not members[split] or not questions[split]:
            stages[split] = Stage(questions[split], [], {}, [])
            continue
        answers = write_answers(
            domain,
            questions[split],
            readers or [member.persona for member in members[split]],
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
                "take a stronger model as the writer, or more `max_tokens` for one that reasons "
                "before it answers."
            )
        stages[split] = Stage(questions[split], members[split], answers, probes)
    return stages


def _label(
    members: Sequence[Member],
    stage: Stage,
    labeller: Labeller,
    limit: int,
    tally: Tally,
    seed: int,
    split: str,
) -> Iterator[tuple[Member, list[Labelled]]]:
    """Each user with pairs in the user's own order: what is dropped is made up for in `ROUNDS`."""
    work = list(parts(members, limit))
    for number, part in enumerate(work, 1):
        shown = f"{split}: labelling, part {number} of {len(work)}"
        waiting = [own_pairs(member, stage, seed) for member in part]
        found: list[list[Labelled]] = [[] for _ in part]
        for _ in range(ROUNDS):
            drawn = [
                (place, draw)
                for place, own in enumerate(waiting)
                for draw in islice(own, limit - len(found[place]))
            ]
            asked = [comparison(part[place], draw) for place, draw in drawn]
            verdicts = labeller.label(asked, description=shown)
            for (place, draw), verdict in zip(drawn, verdicts, strict=True):
                tally.add(verdict, draw[1].text, draw[2].text)
                if verdict.outcome == "clear":
                    found[place].append((draw, verdict))
        yield from zip(part, found, strict=True)


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
