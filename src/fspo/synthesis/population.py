"""The users of a run: split before anything else, refined, compared with each other, remade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from fspo.domains.described import Described
from fspo.llm.embedding import Embedder
from fspo.llm.requests import LanguageModel
from fspo.preferences.records import User
from fspo.recipe import EngineRecipe
from fspo.synthesis.personas import Persona, grow_personas, seed_personas
from fspo.synthesis.prompts import SPLITS, split_counts
from fspo.synthesis.refining import Growth


@dataclass
class Member:
    """One user on the way.

    Attributes:
        user_id: the user's name.
        split: what the user is for.
        number: the user's place among all, which random draws depend on.
        persona: who the user was to begin with.
        growth: the description as it is now, and how it came about.
        remade: how often the description was begun again.
    """

    user_id: str
    split: str
    number: int
    persona: Persona
    growth: Growth
    remade: int = 0

    def user(self) -> User:
        """The record for the dataset."""
        attributes: dict[str, Any] = dict(self.persona.traits) | {"kind": self.persona.kind}
        if self.persona.wants:
            attributes["wants"] = dict(self.persona.wants)
        return User(self.user_id, self.growth.text, attributes, self.split)


def populate(
    recipe: EngineRecipe,
    domain: Described,
    thinker: LanguageModel,
    embedder: Embedder,
    seed: int,
) -> dict[str, list[Member]]:
    """The users of every split, nobody twice; only test users stand between two values."""
    generator = np.random.default_rng([seed, 1])
    counts = split_counts(recipe.users, recipe.validation, recipe.test)
    grown = {split: round(count * recipe.grown_users) for split, count in counts.items()}
    between = round((counts["test"] - grown["test"]) * recipe.between)
    seeds = sum(counts.values()) - sum(grown.values())
    drawn = seed_personas(
        domain, seeds, generator, between=between / seeds if seeds else 0.0, only=recipe.only
    )
    people = {"test": drawn[seeds - between :]}
    others = _in_turn([drawn[place] for place in generator.permutation(seeds - between)])
    for split in SPLITS:
        taken = counts[split] - grown[split] - len(people.get(split, []))
        people[split] = others[:taken] + people.get(split, [])
        others = others[taken:]
    for split in SPLITS:
        if grown[split]:
            everybody = [persona for own in people.values() for persona in own]
            people[split] += grow_personas(everybody, grown[split], thinker, embedder, generator)
    return _members({s: opposites(own) if recipe.opposed else own for s, own in people.items()})


def _in_turn(people: Sequence[Persona]) -> list[Persona]:
    """The people with the first trait's values taking turns: the smallest split has them all."""
    by_value: dict[str, list[Persona]] = {}
    for persona in people:
        by_value.setdefault(next(iter(persona.traits.values()), ""), []).append(persona)
    turns = zip_longest(*by_value.values())
    return [persona for turn in turns for persona in turn if persona is not None]


def opposites(people: Sequence[Persona]) -> list[Persona]:
    """The people in an order in which those who want different things stand side by side.

    By what they want they fall into four parts: one of each, and the next of each, and so on.
    """
    ranked = sorted(people, key=lambda persona: sorted(persona.wants.items()))
    size = -(-len(ranked) // 4)
    quarters = [ranked[part * size : (part + 1) * size] for part in (0, 2, 1, 3)]  # far apart
    return [quarter[place] for place in range(size) for quarter in quarters if place < len(quarter)]


def _members(people: Mapping[str, Sequence[Persona]]) -> dict[str, list[Member]]:
    members: dict[str, list[Member]] = {}
    number = 0
    for split in SPLITS:
        members[split] = []
        for place, persona in enumerate(people[split]):
            user_id = f"{split}-{place:04d}"
            user = User(user_id, persona.description, {"wants": dict(persona.wants)}, split)
            members[split].append(Member(user_id, split, number, persona, Growth(user)))
            number += 1
    return members
