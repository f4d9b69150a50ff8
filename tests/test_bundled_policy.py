"""The policy that comes with fspo: what it has learned from is noted, and known where it is met."""

from __future__ import annotations

import json

import pytest

from fspo import FspoError, Preference, Preferences, load_preferences
from fspo.bundled import BUNDLED
from fspo.domains import load_domain
from fspo.evaluation.cohort import cohort
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.learning.learned import load_learned
from fspo.learning.policy import is_base, read_settings
from fspo.synthesis.run import split_titles, split_users

SEED, TITLES, USERS = 1, 56, 72  # of `fspo paper reviews --seed 1`


def test_the_note_is_of_the_users_and_titles_that_its_seed_draws() -> None:
    [learned] = load_learned(BUNDLED)
    domain = load_domain("reviews")
    titles = split_titles(domain.titles(), TITLES, SEED)
    asked = {split: {f"Write a review of {t}." for t in own} for split, own in titles.items()}
    assert len(learned.prompts) == len(learned.prompts_in(asked["train"])) == 35
    assert not learned.prompts_in(asked["test"])
    assert not learned.prompts_in(p.prompt for _, p in load_preferences(BUNDLED / "pairs.jsonl"))
    users = {
        split: {u.user_id for u in own} for split, own in split_users(domain, USERS, SEED).items()
    }
    assert learned._in(users["train"], learned.users) == users["train"]
    assert len(learned.users) == 48
    assert not learned._in(users["test"], learned.users)


def test_prompts_that_it_has_learned_from_are_refused_as_new_ones() -> None:
    titles = split_titles(load_domain("reviews").titles(), TITLES, SEED)
    for split, is_known in (("train", True), ("test", False)):
        rows = [Preference(f"Write a review of {t}.", f"{t} yes", "no") for t in titles[split]]
        every = Preferences({f"u{n}": rows for n in range(4)}, source="mine")
        recipe, folders = EvaluateRecipe(holdout_prompts=0.5), {"FSPO + RAT": BUNDLED}
        policies = {"FSPO + RAT": read_settings(BUNDLED)}
        if is_known:
            with pytest.raises(FspoError, match=r"learned from \d+ of the \d+ prompts of mine"):
                cohort(every, policies, recipe, folders)
        else:
            assert cohort(every, policies, recipe, folders).new == "prompts"


def test_its_card_is_written() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: ")
    assert "More Information Needed" not in card
    settings = json.loads((BUNDLED / "fspo.json").read_text(encoding="utf-8"))
    assert settings["fingerprints"].keys() == {"data", "template"}
    assert is_base(settings, "smollm2-135m-instruct", BUNDLED)
    for key in ("beta", "episodes", "shots", "seed"):
        assert f"{settings[key]:g}" in card
