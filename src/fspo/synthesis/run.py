"""Makes a preference dataset for a domain: titles and users, answers, labels, the folder.

Titles and users are split before anything else, so that test users are new and what they are
asked about is new, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains import Domain, load_domain
from fspo.errors import FspoError
from fspo.files import with_a_name
from fspo.llm.local import LocalModel
from fspo.models import load_model
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.writing import save_preferences
from fspo.recipe import SynthesizeRecipe, read_recipe
from fspo.synthesis.card import card
from fspo.synthesis.labels import Taste, label
from fspo.synthesis.responses import Answer, Request, ask

TEST_TITLES = 0.25  # the share of the titles that only test users are asked about
TEST_USERS = 6  # one user in so many is a new one of a trained kind, another one in between
MARGIN = 1.5  # the least difference in utility that a user is sure about
LIKED = 0.4  # the least utility of an answer that a user chooses for its own sake


def run_reviews(
    settings: Mapping[str, Any], out: Path, seed: int, assignments: Sequence[str] = ()
) -> dict[str, Any]:
    """Makes the dataset that `settings` of a `SynthesizeRecipe` describe; see `synthesize`."""
    plan = read_recipe(SynthesizeRecipe, None, settings, assignments)
    return synthesize(
        load_domain(plan.domain),
        out,
        model=plan.model,
        titles=plan.titles,
        users=plan.users,
        preferences_per_user=plan.preferences_per_user,
        seed=seed,
    )


def synthesize(
    domain: Domain,
    out: Path,
    *,
    model: str,
    titles: int,
    users: int,
    preferences_per_user: int,
    seed: int,
) -> dict[str, Any]:
    """Writes a preference dataset to the folder `out`.

    The answers, which take nearly all of the time, are kept in `<out>.responses.jsonl` as they
    come; an interrupted run goes on from there. They do not depend on the users, so that another
    number of users or preferences takes seconds.

    Args:
        domain: what `load_domain` gives.
        out: the folder to write; whatever it held is replaced.
        model: who writes the answers; any name that `load_model` knows.
        titles: how many titles; as many of each category. A quarter of them is for testing.
        users: how many users; a multiple of 24. Two thirds are to learn from, a sixth are new
            users of the same kinds, a sixth are of kinds in between.
        preferences_per_user: the most preferences of a user.
        seed: what every random choice depends on.

    Returns:
        Figures: users, preferences, titles, answers, the share of answers that was dropped, and
        the mean of what was measured in the answers of each persona.

    Raises:
        FspoError: if the domain cannot give so many titles or users, the model cannot be loaded,
            or writes nothing that can be used.
    """
    out = with_a_name(out)
    titles_of = split_titles(domain.titles(), titles, seed)
    users_of = split_users(domain, users, seed)
    request = Request(domain.PERSONAS, titles_of["train"] + titles_of["test"], seed, model)
    answers, written = ask(
        request,
        domain.conversation,
        domain.fits,
        lambda: LocalModel(*load_model(model)),
        out.with_name(f"{out.name}.responses.jsonl"),
    )
    preferences = label_all(domain, titles_of, users_of, answers, preferences_per_user, seed)
    figures = _figures(domain, preferences, titles_of, written, answers)
    save_preferences(preferences, out, card(domain.NAME, model, seed, MARGIN, LIKED, figures))
    return figures


def split_titles(
    by_category: Mapping[str, Sequence[str]], count: int, seed: int
) -> dict[str, list[str]]:
    """Draws as many titles from every category, and splits each category's into train and test.

    Raises:
        FspoError: if `count` cannot be drawn evenly, or a category has too few titles.
    """
    each = count // len(by_category)
    most = min(map(len, by_category.values()))
    if count % len(by_category) or not 2 <= each <= most:
        raise FspoError(
            f"{count} titles cannot be drawn evenly from {', '.join(by_category)}: ask for a "
            f"multiple of {len(by_category)}, from {2 * len(by_category)} to "
            f"{most * len(by_category)}."
        )
    held_out = max(1, round(each * TEST_TITLES))
    generator = np.random.default_rng([seed, 0])
    split: dict[str, list[str]] = {"train": [], "test": []}
    for titles in by_category.values():
        drawn = [titles[place] for place in generator.permutation(len(titles))[:each]]
        split["test"] += drawn[:held_out]
        split["train"] += drawn[held_out:]
    return split


def split_users(domain: Domain, count: int, seed: int) -> dict[str, list[User]]:
    """The users of each split; those between the trained kinds are for testing only.

    Raises:
        FspoError: if the population would not be balanced.
    """
    if count < 4 * TEST_USERS or count % (4 * TEST_USERS):
        raise FspoError(
            f"{count} users cannot be balanced over splits and kinds: "
            f"ask for a multiple of {4 * TEST_USERS}."
        )
    generator = np.random.default_rng([seed, 1])
    new = count // TEST_USERS
    return {
        "train": domain.users("train", count - 2 * new, 0, generator),
        "test": domain.users("test", new, new, generator),
    }


def label_all(
    domain: Domain,
    titles: Mapping[str, Sequence[str]],
    users: Mapping[str, Sequence[User]],
    answers: Sequence[Answer],
    limit: int,
    seed: int,
) -> Preferences:
    """The preferences of every user, on the titles of the user's own split."""
    by_title: dict[str, list[Answer]] = {}
    for answer in answers:
        by_title.setdefault(answer.title, []).append(answer)
    by_user: dict[str, list[Preference]] = {}
    for number, split in enumerate(users):
        by_user |= label(
            users[split],
            {title: by_title[title] for title in titles[split] if title in by_title},
            prompt=domain.prompt,
            taste=Taste(domain.utility, MARGIN, LIKED),
            limit=limit,
            seed=[seed, 2, number],
        )
    return Preferences(by_user, [user for group in users.values() for user in group])


def _figures(
    domain: Domain,
    preferences: Preferences,
    titles: Mapping[str, Sequence[str]],
    written: int,
    answers: Sequence[Answer],
) -> dict[str, Any]:
    splits = Counter(user.split for user in preferences.users.values())
    longer = [np.sign(len(p.chosen.split()) - len(p.rejected.split())) for _, p in preferences]
    return {
        "users": dict(splits),
        "preferences": {split: len(preferences.of(split)) for split in splits},
        "titles": {split: len(group) for split, group in titles.items()},
        "answers": len(answers),
        "dropped": round(1 - len(answers) / written, 4),
        "chosen_is_longer": round(float(np.mean(longer)) / 2 + 0.5, 4),
        "personas": {persona: _means(domain, persona, answers) for persona in domain.PERSONAS},
    }


def _means(domain: Domain, persona: str, answers: Sequence[Answer]) -> dict[str, float]:
    found = [domain.measure(answer.text) for answer in answers if answer.persona == persona]
    if not found:
        raise FspoError(
            f"the model wrote no usable answer as {persona!r}: give another one with --model, "
            "one that follows instructions."
        )
    return {name: round(float(np.mean([f[name] for f in found])), 3) for name in found[0]}
