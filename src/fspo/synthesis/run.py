"""Makes a preference dataset for a domain: titles and users, answers, labels, the folder.

Titles and users are split before anything else, so that test users are new and what they are
asked about is new, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains import Domain, load_domain
from fspo.errors import FspoError
from fspo.llm.local import LocalModel
from fspo.preferences.records import Preferences, User
from fspo.synthesis.card import card
from fspo.synthesis.labels import label
from fspo.synthesis.responses import Answer, Request, ask, kept


@dataclass(frozen=True)
class Settings:
    """What a dataset is to hold.

    Attributes:
        titles: how many titles, drawn evenly from the domain's categories.
        test_share: the share of the titles that only test users are asked about.
        train_users: users of the trained kinds to learn from; a multiple of four.
        test_users: new users of the trained kinds; a multiple of four.
        interpolated_users: test users of kinds between the trained ones; a multiple of four.
        preferences_per_user: the most preferences of a user.
        answers_per_persona: how many answers to each title each persona writes.
        max_new_tokens: the longest answer, in tokens.
        temperature: at which answers are sampled.
        top_p: with which answers are sampled.
        margin: the least difference in utility that a user is sure about.
        seed: what every random choice depends on.
    """

    titles: int = 96
    test_share: float = 0.25
    train_users: int = 48
    test_users: int = 24
    interpolated_users: int = 24
    preferences_per_user: int = 30
    answers_per_persona: int = 1
    max_new_tokens: int = 80
    temperature: float = 0.8
    top_p: float = 0.95
    margin: float = 0.6
    seed: int = 0


def synthesize(
    domain: str, out: Path, *, model: LocalModel, model_name: str, settings: Settings
) -> dict[str, Any]:
    """Writes a preference dataset to the folder `out`.

    The answers, which take nearly all of the time, are kept in `<out>.responses.jsonl` as they
    come; an interrupted run goes on from there.

    Args:
        domain: the domain's name.
        out: the folder to write; whatever it held is replaced.
        model: who writes the answers.
        model_name: the model's name, for the card.
        settings: what the dataset is to hold.

    Returns:
        Figures: users, preferences, titles, answers, the share of answers that was dropped, and
        the mean of what was measured in the answers of each persona.

    Raises:
        FspoError: if there is no such domain, or it cannot give what `settings` ask for.
    """
    from fspo.preferences.writing import save_preferences

    place = load_domain(domain)
    titles = split_titles(place.titles(), settings)
    users = split_users(place, settings)
    asked = titles["train"] + titles["test"]
    request = _request(place, asked, model_name, settings)
    written = ask(request, place.conversation, model, out.with_name(f"{out.name}.responses.jsonl"))
    answers = kept(written)
    preferences = label_all(place, titles, users, answers, settings)
    figures = _figures(place, preferences, titles, written, answers)
    text = card(domain, model_name, asdict(settings), figures, preferences)
    save_preferences(preferences, out, text)
    return figures


def split_titles(
    by_category: Mapping[str, Sequence[str]], settings: Settings
) -> dict[str, list[str]]:
    """Draws as many titles from every category, and splits each category's into train and test.

    Raises:
        FspoError: if a category has too few titles.
    """
    each = -(-settings.titles // len(by_category))
    held_out = round(each * settings.test_share)
    generator = np.random.default_rng([settings.seed, 0])
    split: dict[str, list[str]] = {"train": [], "test": []}
    for category, titles in by_category.items():
        if each > len(titles):
            raise FspoError(
                f"{settings.titles} titles need {each} {category}; there are {len(titles)}. "
                f"Ask for at most {len(titles) * len(by_category)} titles."
            )
        drawn = [titles[place] for place in generator.permutation(len(titles))[:each]]
        split["test"] += drawn[:held_out]
        split["train"] += drawn[held_out:]
    return split


def split_users(domain: Domain, settings: Settings) -> dict[str, list[User]]:
    """The users of each split; those between the trained kinds are for testing only."""
    generator = np.random.default_rng([settings.seed, 1])
    return {
        "train": domain.users("train", settings.train_users, 0, generator),
        "test": domain.users(
            "test", settings.test_users, settings.interpolated_users, generator
        ),
    }


def label_all(
    domain: Domain,
    titles: Mapping[str, Sequence[str]],
    users: Mapping[str, Sequence[User]],
    answers: Sequence[Answer],
    settings: Settings,
) -> Preferences:
    """The preferences of every user, on the titles of the user's own split."""
    by_title: dict[str, list[Answer]] = {}
    for answer in answers:
        by_title.setdefault(answer.title, []).append(answer)
    by_user = {}
    for number, split in enumerate(users):
        by_user |= label(
            users[split],
            {title: by_title[title] for title in titles[split] if title in by_title},
            prompt=domain.prompt,
            utility=domain.utility,
            limit=settings.preferences_per_user,
            margin=settings.margin,
            seed=settings.seed + number,
        )
    return Preferences(by_user, [user for group in users.values() for user in group])


def _request(domain: Domain, titles: list[str], model_name: str, settings: Settings) -> Request:
    return Request(
        personas=list(domain.PERSONAS),
        titles=titles,
        answers_per_persona=settings.answers_per_persona,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        model=model_name,
    )


def _figures(
    domain: Domain,
    preferences: Preferences,
    titles: Mapping[str, Sequence[str]],
    written: Sequence[Answer],
    answers: Sequence[Answer],
) -> dict[str, Any]:
    splits = Counter(user.split for user in preferences.users.values())
    longer = [len(p.chosen.split()) > len(p.rejected.split()) for _, p in preferences]
    return {
        "users": dict(splits),
        "preferences": {split: len(preferences.of(split)) for split in splits},
        "titles": {split: len(group) for split, group in titles.items()},
        "answers": len(answers),
        "dropped": round(1 - len(answers) / len(written), 4),
        "chosen_is_longer": round(float(np.mean(longer)), 4),
        "personas": {
            persona: _means(domain, [a.text for a in answers if a.persona == persona])
            for persona in domain.PERSONAS
        },
    }


def _means(domain: Domain, texts: Sequence[str]) -> dict[str, float]:
    found = [domain.measure(text) for text in texts]
    return {name: round(float(np.mean([f[name] for f in found])), 3) for name in found[0]}
