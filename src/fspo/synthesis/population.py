"""The users of a run: split before anything else, refined, compared with each other, remade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, zip_longest
from typing import Any

import numpy as np

from fspo.domains.domain import Domain
from fspo.errors import FspoError
from fspo.llm.requests import LanguageModel
from fspo.preferences.records import User
from fspo.recipe import SynthesizeRecipe
from fspo.synthesis.embedding import Embedder
from fspo.synthesis.judging import Reader
from fspo.synthesis.personas import Persona, grow_personas, listed_personas, seed_personas
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

    @property
    def reader(self) -> Reader:
        """What a labeller knows of the user now."""
        return self.growth.reader

    def user(self) -> User:
        """The record for the dataset."""
        attributes: dict[str, Any] = dict(self.persona.traits) | {"kind": self.persona.kind}
        if self.persona.wants:
            attributes["wants"] = dict(self.persona.wants)
        if self.persona.importance:
            attributes["importance"] = dict(self.persona.importance)
        return User(self.user_id, self.growth.text, attributes, self.split)


def populate(
    recipe: SynthesizeRecipe,
    domain: Domain,
    thinker: LanguageModel,
    embedder: Embedder,
    seed: int,
) -> dict[str, list[Member]]:
    """The users of every split; only test users stand between two values.

    Where they are drawn from traits, nobody is there twice. Where the domain lists personas, users
    have these in turn.

    Raises:
        FspoError: if the domain does not have what the recipe draws users from.
    """
    if from_personas(recipe, domain):
        return _members(_of_listed(recipe, domain))
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


def from_personas(recipe: SynthesizeRecipe, domain: Domain) -> bool:
    """Returns whether users have the domain's listed personas, rather than its traits.

    Raises:
        FspoError: if it lists none, or has no traits, or the recipe has keys for traits alone.
    """
    listed = recipe.population == "personas" or (recipe.population is None and domain.personas)
    if not (domain.personas if listed else domain.traits):
        raise FspoError(
            f"population: {domain.name} has no {'personas' if listed else 'traits'} in its "
            "domain.yaml; take the other one"
        )
    if not listed:
        return False
    for key in ("only", "grown_users"):
        if getattr(recipe, key):
            raise FspoError(
                f"{key}: is for users drawn from traits, and those of {domain.name} have the "
                "personas that it lists; leave it out, or set `population: traits`"
            )
    if recipe.between and not listed_personas(domain, test_only=True):
        raise FspoError(f"between: {domain.name} lists no personas that are `test_only`")
    return True


def _of_listed(recipe: SynthesizeRecipe, domain: Domain) -> dict[str, list[Persona]]:
    people = {}
    for split, count in split_counts(recipe.users, recipe.validation, recipe.test).items():
        between = round(count * recipe.between) if split == "test" else 0
        people[split] = [
            *islice(cycle(listed_personas(domain)), count - between),
            *islice(cycle(listed_personas(domain, test_only=True)), between),
        ]
    return people


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
            reader = Reader(persona.description, "", persona.wants, persona.importance)
            user_id = f"{split}-{place:04d}"
            members[split].append(Member(user_id, split, number, persona, Growth(reader)))
            number += 1
    return members
