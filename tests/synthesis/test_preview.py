"""A preview says what a run would ask, to the request, and asks nothing."""

from collections import Counter

import pytest
from small_domain import write_domain

from fspo.domains.domain import load_domain
from fspo.llm.meter import Expected
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import Request
from fspo.recipe import RECIPES, SynthesizeRecipe, read_recipe
from fspo.synthesis.engine import make
from fspo.synthesis.judging import ModelLabeller
from fspo.synthesis.preview import expected, preview, render
from fspo.synthesis.stage import Cast

SERVER = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}


def recipe(folder, **settings: object) -> SynthesizeRecipe:
    plain = {
        "domain": str(folder),
        "users": 20,
        "questions": 30,
        "grown_users": 0.2,
        "answers_per_question": 4,
        "preferences_per_user": 6,
        "refinements": 2,
        "remakes": 0,
        "writers": [SERVER | {"price_out": 2.0}],
        "thinker": SERVER | {"price_out": 3.0},
        "labeller": SERVER | {"price_in": 1.0},
    }
    return SynthesizeRecipe.model_validate(plain | settings)


@pytest.fixture
def folder(tmp_path):
    return write_domain(tmp_path / "tiny")


def test_it_counts_what_a_run_asks(folder, tmp_path):
    plan = recipe(folder)
    seen: list[Request] = []
    domain, model = load_domain(str(folder)), Pretend(seen.append)
    cast = Cast(model, model, ModelLabeller(model, domain.guidelines))
    make(plan, domain, cast, pretend_embedder, tmp_path / "out", 0)
    asked = Counter(request.purpose for request in seen)
    found = preview(plan, 2, 0)
    assert {name: own["requests"] for name, own in found["purposes"].items()} == asked
    first = next(r for r in seen if r.purpose == "answers")
    assert found["purposes"]["answers"]["first"][0] == [list(m) for m in first.messages]
    assert all(len(own["first"]) <= 2 for own in found["purposes"].values())
    assert found["total"]["requests"] == len(seen)


def test_costs_are_each_models_own(folder):
    found = preview(recipe(folder), 0, 0)["purposes"]
    labels, answers = found["labels"], found["answers"]
    assert labels["cost"] == pytest.approx(labels["input_tokens"] / 1e6, rel=0.01)
    assert answers["cost"] == pytest.approx(answers["output_tokens"] * 2 / 1e6, rel=0.01)
    ahead = expected(recipe(folder), 0)
    assert isinstance(ahead["labels"], Expected)
    assert ahead["labels"].requests * ahead["labels"].each == pytest.approx(labels["cost"])


def test_a_large_population_is_counted_on_a_part_of_it(tmp_path):
    settings = {"refinements": 0, "grown_users": 0.0, "questions": 20}
    folder = write_domain(tmp_path / "tiny")
    small = preview(recipe(folder, users=24, **settings), 0, 0)["purposes"]
    large = preview(recipe(folder, users=240, **settings), 0, 0)["purposes"]
    assert large["labels"]["requests"] == pytest.approx(10 * small["labels"]["requests"], rel=0.01)
    assert large["answers"]["requests"] == small["answers"]["requests"]


def test_it_is_readable_and_warns_of_a_small_budget(folder):
    text = render(preview(recipe(folder, budget=1e-6), 1, 0))
    assert "--- labels, request 1" in text
    assert "the run may stop there" in text
    assert "the run may stop" not in render(preview(recipe(folder, budget=1e6), 0, 0))


def test_who_measures_is_asked_nothing(folder):
    settings = {"labeller": "measured", "refinements": 0, "grown_users": 0.0, "questions": 20}
    found = preview(recipe(folder, **settings), 1, 0)
    assert set(found["purposes"]) == {"answers"}


@pytest.mark.parametrize("name", ["elix", "elix-easy", "roleplay", "reviews", "reviews-tone"])
def test_the_committed_recipes_can_be_looked_at(name):
    recipe = read_recipe(SynthesizeRecipe, RECIPES / f"{name}.yaml", {})
    asked = preview(recipe, 0, 0)["purposes"]
    assert asked["answers"]["requests"] == recipe.questions * recipe.answers_per_question


def test_labels_in_opposition_are_counted_too(folder):
    each = {"users": 16, "questions": 12, "answers_per_question": 4, "preferences_per_user": 4}
    recipe = SynthesizeRecipe(domain=str(folder), guidelines=False, **each)
    opposed = recipe.model_copy(update={"opposed": True})
    alone, four = (preview(r, 0, 0)["purposes"]["labels"]["requests"] for r in (recipe, opposed))
    assert four > alone


def test_a_recipe_says_how_answers_are_made_to_differ_in_the_place_of_the_domain(folder):
    def asked(**settings: object) -> tuple[set[str], str]:
        found = preview(recipe(folder, **settings), 1, 0)["purposes"]
        [[system, *_]] = found["answers"]["first"]
        return set(found), system[1]

    purposes, told = asked()  # the domain has personas
    assert "views" not in purposes
    assert "Write for this reader" in told
    purposes, told = asked(diversity="views")
    assert "views" in purposes
    assert "Write from this view" in told
    purposes, told = asked(diversity="none")
    assert "views" not in purposes
    assert "Write" not in told.splitlines()[-1]
