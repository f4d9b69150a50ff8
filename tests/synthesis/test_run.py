"""Labels and splits, on answers from a file as a finished run leaves it: no model is needed."""

import json
from pathlib import Path

import numpy as np
import pytest

from fspo.domains import load_domain
from fspo.errors import FspoError
from fspo.preferences.reading import load_preferences
from fspo.synthesis import responses
from fspo.synthesis.run import LIKED, MARGIN, split_titles, split_users, synthesize

REVIEWS = load_domain("reviews")
WORDS = {
    "positive, concise": "I love this wonderful {}.",
    "negative, concise": "I hate this awful {}.",
    "positive, verbose": "I love the wonderful {}. " + "The plot moves on to a good next room. " * 3
    + "Each actor says what was written, and great music plays in between!",
    "negative, verbose": "I hate the awful {}. " + "The plot moves on to a bad next room. " * 3
    + "Each actor says what was written, and terrible music plays in between!",
}  # fmt: skip
SIZE = {"titles": 32, "users": 24, "preferences_per_user": 10, "seed": 3}


def write_answers(path: Path, titles: int, seed: int) -> None:
    """What `ask` leaves behind: its first line, and a line for each chunk."""
    split = split_titles(REVIEWS.titles(), titles, seed)
    request = responses.Request(REVIEWS.PERSONAS, split["train"] + split["test"], seed, "nobody")
    responses._resume(request, path)
    jobs = [(persona, title) for persona in request.personas for title in request.titles]
    with path.open("a") as file:
        for _ in range(responses.TRIES):
            for persona, group in responses._chunks(jobs):
                texts = [WORDS[persona].format(title) for title in group]
                file.write(json.dumps({"persona": persona, "titles": group, "texts": texts}) + "\n")
            jobs = [(p, title) for p, title in jobs if not fits(p, title)]


def fits(persona: str, title: str) -> bool:
    """Not everything does: a title may be long, or praise in its own words."""
    text = responses.tidy(WORDS[persona].format(title))
    return text is not None and REVIEWS.fits(persona, text)


@pytest.fixture
def made(tmp_path):
    write_answers(tmp_path / "data.responses.jsonl", SIZE["titles"], SIZE["seed"])
    figures = synthesize(REVIEWS, tmp_path / "data", model="nobody", **SIZE)
    return figures, load_preferences(tmp_path / "data")


def test_splits_share_neither_users_nor_titles(made):
    _, preferences = made
    train, test = preferences.of("train"), preferences.of("test")
    assert not {u for u, _ in train} & {u for u, _ in test}
    assert not {p.prompt for _, p in train} & {p.prompt for _, p in test}
    assert (len(train.by_user), len(test.by_user)) == (16, 8)
    assert {p.prompt for _, p in preferences} <= {
        REVIEWS.prompt(title) for group in REVIEWS.titles().values() for title in group
    }


def test_users_between_the_kinds_are_for_testing_only(made):
    _, preferences = made
    kinds = {split: [u.attributes["kind"] for u in preferences.of(split).users.values()]
             for split in ("train", "test")}  # fmt: skip
    assert "interpolated" not in kinds["train"]
    assert kinds["test"].count("interpolated") == 4


def test_labels_are_what_the_users_attributes_say(made):
    _, preferences = made
    for user_id, preference in preferences:
        a = preferences.users[user_id].attributes
        found = [REVIEWS.measure(text) for text in (preference.chosen, preference.rejected)]
        words = [np.clip(2 * np.log(f["words"] / 10) / np.log(2.5) - 1, -1, 1) for f in found]
        praise = [np.clip(f["sentiment"] / 0.5, -1, 1) for f in found]
        gap = a["sentiment"] * (praise[0] - praise[1])
        gap += a["verbosity"] * (words[0] - words[1])
        likes = a["sentiment"] * praise[0] + a["verbosity"] * words[0]
        assert likes >= LIKED - 1e-9
        assert gap >= MARGIN - 1e-9
        assert preference.extra["gap"] == pytest.approx(gap, abs=1e-3)


def test_each_user_is_asked_about_a_title_once(made):
    _, preferences = made
    for rows in preferences.by_user.values():
        prompts = [p.prompt for p in rows]
        assert len(set(prompts)) == len(prompts)
    train = preferences.of("train")
    assert {len(rows) for rows in train.by_user.values()} == {SIZE["preferences_per_user"]}
    test = list(preferences.of("test").by_user.values())
    assert {len(rows) for rows in test} <= {6, 7, 8}  # as many titles, but those nobody disputes


def test_a_four_is_asked_about_the_same_titles_in_the_same_order(made):
    _, preferences = made
    everybody = [[p.prompt for p in rows] for rows in preferences.by_user.values()]
    for start in range(0, len(everybody), 4):
        assert all(prompts == everybody[start] for prompts in everybody[start : start + 4])
    assert everybody[0] != everybody[4]


def test_for_every_preference_somebody_has_the_opposite(made):
    figures, preferences = made
    for split in ("train", "test"):
        rows = [(p.prompt, p.chosen, p.rejected) for _, p in preferences.of(split)]
        turned = [(prompt, rejected, chosen) for prompt, chosen, rejected in rows]
        assert sorted(rows) == sorted(turned)
    assert figures["chosen_is_longer"] == 0.5


def test_a_corner_user_sees_pairs_that_differ_in_one_thing_and_in_two(made):
    _, preferences = made
    corner = [u for u, user in preferences.users.items() if user.attributes["kind"] in WORDS]
    differences = set()
    for user_id in corner:
        for preference in preferences.by_user[user_id]:
            first = preference.extra["chosen_persona"].split(", ")
            second = preference.extra["rejected_persona"].split(", ")
            differences.add((first[0] != second[0], first[1] != second[1]))
    assert differences == {(True, False), (False, True), (True, True)}


def test_the_same_seed_writes_the_same_bytes(made, tmp_path):
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}

    before = contents()
    synthesize(REVIEWS, tmp_path / "data", model="nobody", **SIZE)
    assert contents() == before
    write_answers(tmp_path / "other.responses.jsonl", SIZE["titles"], 4)
    synthesize(REVIEWS, tmp_path / "other", model="nobody", **(SIZE | {"seed": 4}))
    other = (tmp_path / "other" / "preferences.parquet").read_bytes()
    assert other != before["preferences.parquet"]


def test_the_figures_count_what_was_written(made, tmp_path):
    figures, preferences = made
    assert figures["users"] == {"train": 16, "test": 8}
    assert sum(figures["preferences"].values()) == len(preferences)
    assert figures["titles"] == {"train": 24, "test": 8}
    lines = (tmp_path / "data.responses.jsonl").read_text().splitlines()[1:]
    written = [(chunk["persona"], t) for chunk in map(json.loads, lines) for t in chunk["titles"]]
    assert len(set(written)) == 128
    assert figures["answers"] == sum(fits(*job) for job in set(written)) < 128
    assert figures["dropped"] == pytest.approx(1 - figures["answers"] / len(written), abs=1e-4)
    assert figures["personas"]["negative, concise"]["sentiment"] < -0.5
    card = (tmp_path / "data" / "README.md").read_text()
    assert f"{len(preferences)} preferences of 24 users who do not exist" in card


@pytest.mark.parametrize("count", [0, 4, 30, 10_000])
def test_titles_that_cannot_be_split_evenly_are_refused(count):
    with pytest.raises(FspoError, match="multiple of 4, from 8 to"):
        split_titles(REVIEWS.titles(), count, 0)


@pytest.mark.parametrize("count", [0, 12, 40])
def test_users_that_cannot_be_balanced_are_refused(count):
    with pytest.raises(FspoError, match="multiple of 24"):
        split_users(REVIEWS, count, 0)


def test_a_model_that_writes_nothing_usable_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(WORDS, "negative, concise", "no")
    write_answers(tmp_path / "data.responses.jsonl", 32, 3)
    with pytest.raises(FspoError, match="no usable answer as 'negative, concise'"):
        synthesize(REVIEWS, tmp_path / "data", model="nobody", **SIZE)
