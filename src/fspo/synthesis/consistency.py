"""Makes the users of a split consistent: guidelines and refinement; who is too odd begins again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from fspo.domains.described import Described
from fspo.judging.verdicts import Judge
from fspo.recipe import EngineRecipe
from fspo.synthesis import checks
from fspo.synthesis.guidelines import guide
from fspo.synthesis.population import Member
from fspo.synthesis.refining import refine
from fspo.synthesis.stage import Cast, Stage, comparison, own_pairs, parts


def settle(
    recipe: EngineRecipe, domain: Described, cast: Cast, stage: Stage, split: str, seed: int
) -> None:
    """Refines the users of a split, and begins again with those who are too odd or too alike.

    Args:
        recipe: how much of everything.
        domain: its guidelines are for everybody.
        cast: who does the work.
        stage: whose members grow; what they say of the probes is kept there.
        split: its name, for progress.
        seed: what every random choice depends on.

    Raises:
        FspoError: if a model does not answer.
    """
    if not stage.members:
        return
    _guide(recipe, domain, cast, stage.members)
    stage.probabilities["before"] = _probe(recipe, cast.labeller, stage, f"{split}: comparing")
    if not recipe.refinements:
        return
    todo = stage.members
    for attempt in range(recipe.remakes + 1):
        for part in parts(todo, 1):
            _refine(recipe, cast, part, stage, f"{split}: refining", [seed, 4, attempt])
        _guide(recipe, domain, cast, todo)
        after = _probe(recipe, cast.labeller, stage, f"{split}: comparing again")
        odd = checks.outside(checks.disagreement(after), recipe.disagreement)
        todo = [stage.members[place] for place in odd]
        if not todo or attempt == recipe.remakes:
            break
        for member in todo:
            member.remade = attempt + 1
    stage.probabilities["after"] = after


def _guide(recipe: EngineRecipe, domain: Described, cast: Cast, members: Sequence[Member]) -> None:
    """Writes guidelines for each user anew, from the description as it is now."""
    if recipe.labeller == "measured" or not recipe.guidelines:
        return
    people = [member.growth.text for member in members]
    guided = guide(people, domain.guidelines, cast.thinker, "Writing guidelines")
    for member, guidelines in zip(members, guided, strict=True):
        member.growth.guidelines = guidelines


def _refine(
    recipe: EngineRecipe,
    cast: Cast,
    part: Sequence[Member],
    stage: Stage,
    description: str,
    seeds: Sequence[int],
) -> None:
    """From the seed persona; without guidelines, as it is the description that has to decide."""
    users = [replace(m.growth.user, description=m.persona.description) for m in part]
    drawn = [islice(own_pairs(m, stage, seeds[0]), recipe.refinements) for m in part]
    grown = refine(
        users,
        [[(q, one.text, other.text) for q, one, other in own] for own in drawn],
        cast.labeller,
        cast.thinker,
        undecided=recipe.undecided,
        generators=[np.random.default_rng([*seeds, m.number]) for m in part],
        description=description,
    )
    for member, growth in zip(part, grown, strict=True):
        member.growth = growth


def _probe(recipe: EngineRecipe, labeller: Judge, stage: Stage, description: str) -> checks.Matrix:
    """Returns what all users of a split say of the same pairs: (users, probes), first preferred."""
    rows: list[float] = []
    stage.decided = 0
    for part in parts(stage.members, len(stage.probes)):
        asked = [comparison(member, probe) for member in part for probe in stage.probes]
        draws = [labeller.judge(asked, draw, description) for draw in range(recipe.repeats)]
        stage.decided += sum(verdict.outcome == "clear" for own in draws for verdict in own)
        rows += [float(np.mean([v.probability for v in own])) for own in zip(*draws, strict=True)]
    return np.array(rows).reshape(len(stage.members), len(stage.probes))
