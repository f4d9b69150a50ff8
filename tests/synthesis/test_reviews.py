"""Reviews as the engine makes them: personas in turn, what they are asked, labels, splits."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from fspo.domains.domain import load_domain
from fspo.errors import FspoError
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import Reply, Request
from fspo.preferences.contents import card_judge
from fspo.preferences.reading import load_preferences
from fspo.recipe import RECIPES, SynthesizeRecipe, read_recipe
from fspo.synthesis.engine import make
from fspo.synthesis.judging import MeasuredLabeller
from fspo.synthesis.population import populate
from fspo.synthesis.stage import Cast

REVIEWS = load_domain("reviews")
WORDS = {
    "short and positive": "I love this wonderful {}.",
    "short and negative": "I hate this awful {}.",
    "long and positive": "I love the wonderful {}. " + "The plot moves on to a good next room. " * 3
    + "Each actor says what was written, and great music plays in between!",
    "long and negative": "I hate the awful {}. " + "The plot moves on to a bad next room. " * 3
    + "Each actor says what was written, and terrible music plays in between!",
}  # fmt: skip
SIZE = {"questions": 32, "users": 24, "preferences_per_user": 10}


class Reviewer:
    """Writes what it is asked for, about a number; every third time the contrary."""

    name = "reviewer"

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        self.asked += requests
        for place, request in enumerate(requests):
            key = request.key(self.name)
            ask = request.messages[-1][1].split("Make it ")[1].removesuffix(".")
            if key[0] % 3 == 0:
                ask = next(other for other in WORDS if not set(other.split()) & {*ask.split()[::2]})
            yield [(place, Reply(WORDS[ask].format(f"number {key.hex()[:4]}"), self.name))]


@pytest.fixture(scope="module")
def recipe() -> SynthesizeRecipe:
    return read_recipe(SynthesizeRecipe, RECIPES / "reviews.yaml", SIZE)


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory):
    writer, out = Reviewer(), tmp_path_factory.mktemp("made") / "data"
    labeller = MeasuredLabeller(REVIEWS, recipe.margin, recipe.liked)
    cast = Cast(writer, Pretend(), labeller)
    figures = make(recipe, REVIEWS, cast, pretend_embedder, out, 3)
    return figures, load_preferences(out), writer


def test_users_have_the_personas_in_turn_and_those_between_are_for_testing_only(made):
    _, preferences, _ = made
    kinds = {
        split: Counter(u.attributes["kind"] for u in preferences.of(split).users.values())
        for split in ("train", "test")
    }
    trained = [persona.kind for persona in REVIEWS.personas if not persona.test_only]
    assert kinds["train"] == dict.fromkeys(trained, 4)
    assert kinds["test"] == dict.fromkeys(trained, 1) | {"interpolated": 4}
    for user in preferences.users.values():
        [own] = [p for p in REVIEWS.personas if p.description == user.description]
        assert user.attributes["wants"] == own.wants
        assert user.attributes.get("importance", {}) == own.importance


def test_splits_share_neither_users_nor_questions(made):
    figures, preferences, _ = made
    train, test = preferences.of("train"), preferences.of("test")
    assert not {u for u, _ in train} & {u for u, _ in test}
    assert not {p.prompt for _, p in train} & {p.prompt for _, p in test}
    assert figures["users"] == {"test": 8, "validation": 0, "train": 16}
    assert figures["questions"] == {"test": 11, "validation": 0, "train": 21}
    assert figures["grown_questions"] == 0
    everything = {text for own in REVIEWS.questions.values() for text in own}
    assert {p.prompt for _, p in preferences} <= everything


def test_a_persona_is_asked_in_its_own_way_behind_its_examples(made):
    for request in made[2].asked:
        roles = [role for role, _ in request.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        [persona] = [
            p
            for p in REVIEWS.personas
            if p.examples and request.messages[1][1] == p.examples[0].answer
        ]
        ending = persona.ask.removeprefix("{}")
        assert all(text.endswith(ending) for role, text in request.messages if role == "user")


def test_what_does_not_suit_its_reader_is_asked_for_again_and_left_out_in_the_end(made):
    _, preferences, writer = made
    first = [request for request in writer.asked if request.seed < 1000]
    assert len(first) == 32 * 4
    assert len(writer.asked) > 1.2 * len(first)
    for _, preference in preferences:
        for side in ("chosen", "rejected"):
            kind = preference.extra[f"{side}_manner"]
            [persona] = [p for p in REVIEWS.personas if p.kind == kind]
            assert REVIEWS.suits(persona.wants, getattr(preference, side))


def test_labels_are_what_the_users_want_and_clearly_so(made, recipe):
    _, preferences, _ = made
    for user_id, preference in preferences:
        attributes = preferences.users[user_id].attributes
        worth = [
            -sum(
                attributes.get("importance", {}).get(name, 1) * abs(measured - wanted)
                for name, wanted in attributes["wants"].items()
                for measured in [REVIEWS.functions[name](text)]
            )
            for text in (preference.chosen, preference.rejected)
        ]
        assert worth[0] >= recipe.liked - 1e-9
        assert worth[0] - worth[1] >= recipe.margin - 1e-9


def test_each_pair_has_two_users_who_choose_differently(made):
    _, preferences, _ = made
    for split in ("train", "test"):
        rows = [(p.prompt, p.chosen, p.rejected) for _, p in preferences.of(split)]
        assert sorted(rows) == sorted((prompt, b, a) for prompt, a, b in rows)
    everybody = [[p.prompt for p in rows] for rows in preferences.by_user.values()]
    assert all(len(set(prompts)) == len(prompts) for prompts in everybody)
    for start in range(0, len(everybody), 4):
        assert all(prompts == everybody[start] for prompts in everybody[start : start + 4])
    lengths = [len(p.chosen.split()) - len(p.rejected.split()) for _, p in preferences]
    assert np.sum(np.sign(lengths)) == 0
    assert {len(rows) for rows in preferences.of("train").by_user.values()} == {10}


def test_a_corner_user_sees_pairs_that_differ_in_one_thing_and_in_two(made):
    _, preferences, _ = made
    differences = set()
    for _, preference in preferences.of("train"):
        first = preference.extra["chosen_manner"].split(", ")
        second = preference.extra["rejected_manner"].split(", ")
        differences.add((first[0] != second[0], first[1] != second[1]))
    assert differences == {(True, False), (False, True), (True, True)}


def test_the_card_names_the_judge(made):
    assert card_judge(made[1].source) == "reviews"


def test_users_of_reviews_may_be_drawn_from_its_traits(recipe):
    drawn = recipe.model_copy(update={"population": "traits"})
    members = populate(drawn, REVIEWS, Pretend(), pretend_embedder, 0)
    assert all(m.persona.traits.keys() >= {"tone"} for m in members["train"])


@pytest.mark.parametrize(
    ("domain", "settings", "told"),
    [
        ("elix", {"population": "personas"}, "population: elix has no personas"),
        ("reviews", {"only": {"tone": ["x"]}}, "only: is for users drawn from traits"),
        ("reviews", {"grown_users": 0.5}, "grown_users: is for users drawn from traits"),
    ],
)
def test_a_recipe_that_does_not_fit_the_population_is_told(domain, settings, told):
    recipe = SynthesizeRecipe(domain=domain, **settings)
    with pytest.raises(FspoError, match=told):
        populate(recipe, load_domain(domain), Pretend(), pretend_embedder, 0)
