"""Personas: as many as the paper's, each once, by the tables' weights; and what models make up."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from small_domain import write_domain

from fspo.domains.domain import Domain, load_domain
from fspo.errors import FspoError
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import Reply, Request
from fspo.recipe import SynthesizeRecipe
from fspo.synthesis.personas import grow_personas, read_description, seed_personas
from fspo.synthesis.population import populate


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Domain:
    return load_domain(str(write_domain(tmp_path_factory.mktemp("domain") / "tiny")))


@pytest.mark.parametrize(("name", "count"), [("elix", 550), ("roleplay", 1500)])
def test_there_are_as_many_users_as_in_the_paper_each_once(name, count):
    drawn = seed_personas(load_domain(name), count, np.random.default_rng(0))
    assert len({persona.description for persona in drawn}) == count


def test_values_come_as_often_as_the_table_says():
    roleplay = load_domain("roleplay")
    drawn = seed_personas(roleplay, 1500, np.random.default_rng(0))
    for trait in roleplay.traits[1:]:
        told = Counter(p.traits[trait.name] for p in drawn if trait.name in p.traits)
        whole = sum(value.weight for value in trait.values)
        assert sum(told.values()) == pytest.approx(1500 * trait.chance, abs=5 * 20)
        for value in trait.values:
            share = value.weight / whole
            count = sum(told.values())
            spread = (count * share * (1 - share)) ** 0.5
            assert abs(told[value.value] - count * share) < 5 * spread + 1
    first = Counter(p.traits["age"] for p in drawn)
    assert max(first.values()) - min(first.values()) <= 2  # in turn


def test_a_description_says_the_traits_and_nothing_else(tiny):
    for persona in seed_personas(tiny, 20, np.random.default_rng(1)):
        length, hobby = persona.traits["length"], persona.traits["hobby"]
        assert persona.description == f"This person likes {length} answers. They love {hobby}."
        assert persona.wants == {"words": {"short": 5, "middling": 12, "long": 30}[length]}


def test_who_stands_between_wants_what_lies_between(tiny):
    drawn = seed_personas(tiny, 20, np.random.default_rng(1), between=0.25)
    between = [persona for persona in drawn if persona.kind == "between"]
    assert len(between) == 5
    for persona in between:
        low = "short" in persona.traits["length"]
        assert persona.traits["length"] == (
            "somewhere between short and middling" if low else "somewhere between middling and long"
        )
        assert persona.wants == {"words": 8.5 if low else 21}


def test_what_cannot_be_drawn_is_told(tiny):
    with pytest.raises(FspoError, match=r"only about|gives only|give only"):
        seed_personas(tiny, 200, np.random.default_rng(0))
    with pytest.raises(FspoError, match=r"only.length: there is no value 'huge'.*'short'"):
        seed_personas(tiny, 5, np.random.default_rng(0), only={"length": ["huge"]})
    with pytest.raises(FspoError, match="no trait 'width'; it has length, hobby"):
        seed_personas(tiny, 5, np.random.default_rng(0), only={"width": ["x"]})


class Repeating:
    """Thinks up the same people again and again, between refusals."""

    name = "repeating"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        said = [
            "- Somebody from the coast who sails, and likes plain answers without any jokes.",
            "Sure! Here is one more description.",
            "I'm sorry, but I cannot help with that.",
            "**A baker who gets up at three and wants it told in as few words as can be.** And",
        ]
        for place, request in enumerate(requests):
            yield [(place, Reply(said[(place + request.seed) % len(said)], self.name))]


def test_people_who_are_thought_up_are_unlike_each_other_and_the_seeds(tiny):
    seeds = seed_personas(tiny, 4, np.random.default_rng(0))
    grown = grow_personas(seeds, 8, Repeating(), pretend_embedder, np.random.default_rng(0))
    assert sorted(persona.description for persona in grown) == [
        "A baker who gets up at three and wants it told in as few words as can be.",
        "Somebody from the coast who sails, and likes plain answers without any jokes.",
    ]
    many = grow_personas(seeds, 30, Pretend(), pretend_embedder, np.random.default_rng(0))
    assert len({persona.description for persona in many}) == 30


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1. A nurse who likes short answers.\n2. Another.", "A nurse who likes short answers."),
        ("Too short.", None),
        ("", None),
        ("\n\n---\n", None),
        ("An endless " + "and endless " * 60 + "person.", None),
        ("Nobody ends this sentence about a person who likes", None),
        ("Sure, here is a person who likes long walks and tea.", None),
    ],
)
def test_a_description_is_read_or_not(text, read):
    assert read_description(text) == read


def test_shares_of_the_splits_are_the_recipes(tiny):
    recipe = SynthesizeRecipe(domain="x", users=40, validation=0.1, test=0.2, grown_users=0.25)
    members = populate(recipe, tiny, Pretend(), pretend_embedder, 0)
    assert {split: len(own) for split, own in members.items()} == {
        "test": 8,
        "validation": 4,
        "train": 28,
    }
    assert sum(m.persona.kind == "grown" for m in members["train"]) == 7
    everybody = [m for own in members.values() for m in own]
    assert len({m.persona.description for m in everybody}) == 40
    assert sorted(m.number for m in everybody) == list(range(40))


@pytest.mark.parametrize("seed", range(5))
def test_a_small_split_has_every_value_of_the_first_trait(tiny, seed):
    recipe = SynthesizeRecipe(domain="x", users=40, validation=0.1, test=0.2)
    members = populate(recipe, tiny, Pretend(), pretend_embedder, seed)
    for split in ("test", "validation"):  # the rest, which is drawn evenly but for chance, is train
        counts = Counter(member.persona.traits["length"] for member in members[split])
        assert len(counts) == 3
        assert max(counts.values()) - min(counts.values()) <= 1
