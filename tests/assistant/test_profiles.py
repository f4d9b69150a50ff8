"""Profiles in a real SQLite and a real PostgreSQL: concurrent choices, export, and deletion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import postgresql
from sqlalchemy import create_engine, inspect, text

from fspo.assistant.portable import brought, exported
from fspo.assistant.profiles import Profiles
from fspo.assistant.tables import ApiKey, ChoiceRow, ProfileRow
from fspo.errors import FspoError
from fspo.web.database import Base, Database, open_database
from fspo.web.sessions import SignedIn


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("profiles")
    if request.param == "sqlite":
        yield open_database(str(folder / "a.db"))
        return
    with postgresql(folder) as url:
        found = open_database(url)
        yield found
        found.engine.dispose()


@pytest.fixture
def profiles(database: Database) -> Profiles:
    return Profiles(database)


@pytest.fixture
def user() -> str:
    return uuid4().hex


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    found = inspect(database.engine)
    for table in (SignedIn, ApiKey, ProfileRow, ChoiceRow):
        name = table.__tablename__
        there = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        said = {c.name: bool(c.nullable) for c in Base.metadata.tables[name].columns}
        assert there == said


def test_choices_that_are_made_at_once_are_all_kept(profiles: Profiles, user: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = list(
            threads.map(lambda n: profiles.choose("a", user, f"q{n % 25}", "yes", "no"), range(50))
        )
    kept = profiles.get("a", user).choices
    assert len(kept) == 25  # the second one of each is the first over again
    assert {choice.id for choice, _ in made} == {choice.id for choice in kept}


def test_contradictions_that_are_made_at_once_leave_one_standing(
    profiles: Profiles, user: str
) -> None:
    def choose(n: int) -> None:
        answers = ("yes", "no") if n % 2 else ("no", "yes")
        profiles.choose("a", user, "q", *answers)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(choose, range(40)))
    kept = profiles.get("a", user).choices
    assert sum(choice.superseded_by is None for choice in kept) == 1
    later = {choice.id: place for place, choice in enumerate(kept)}
    for place, choice in enumerate(kept[:-1]):
        assert choice.superseded_by is not None
        assert later[choice.superseded_by] > place


ANSWER = st.sampled_from(["yes", "no", "<b>", "a\u2028b", "  x ", "é" * 40])
MADE = st.tuples(st.sampled_from(["", "q", "# Question"]), ANSWER, ANSWER).filter(
    lambda made: made[1] != made[2]
)


@settings(max_examples=25, deadline=None)
@given(made=st.lists(MADE, max_size=8), description=st.sampled_from(["", "a poet\n# Task"]))
def test_what_is_exported_can_be_brought_elsewhere(
    database: Database, made: list[tuple[str, str, str]], description: str
) -> None:
    profiles, one, other = Profiles(database), uuid4().hex, uuid4().hex
    for prompt, chosen, rejected in made:
        profiles.choose("a", one, prompt, chosen, rejected)
    profiles.describe("a", one, description, "person")
    value = json.loads(json.dumps(exported(profiles.get("a", one))))
    profiles.choose("b", other, "old", "goes", "away")
    profiles.bring("b", other, *brought(value))
    again = exported(profiles.get("b", other))
    assert again["choices"] == value["choices"]
    assert again["description"] == description
    shots = [(s.prompt, s.chosen, s.rejected) for s in profiles.get("b", other).person().shots]
    assert shots == standing(made)


def standing(made: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """By the definition: a choice goes away when the opposite one comes, and comes once."""
    left: list[tuple[str, str, str]] = []
    for prompt, chosen, rejected in made:
        if (prompt, chosen, rejected) not in left:
            left = [row for row in left if row != (prompt, rejected, chosen)]
            left.append((prompt, chosen, rejected))
    return left


GOOD = {"prompt": "q", "chosen": "a", "rejected": "b", "superseded_by": None, "created": None}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "this is no profile"),
        ({"format": "fspo-profile", "version": 2}, "this is no profile"),
        ({"choices": 3}, "choices: must be a list"),
        ({"choices": [3]}, r"choices\[0\]"),
        ({"choices": [GOOD, GOOD | {"chosen": 1}]}, r"choices\[1\]: prompt, chosen"),
        ({"choices": [{"prompt": "q"}]}, r"choices\[0\]: chosen: is missing"),
        ({"choices": [GOOD | {"superseded_by": 0}]}, r"choices\[0\]: superseded_by"),
        ({"choices": [GOOD | {"superseded_by": True}]}, r"choices\[0\]: superseded_by"),
        ({"choices": [GOOD | {"created": "yesterday"}]}, r"choices\[0\]: Invalid isoformat"),
        ({"choices": [GOOD | {"created": "2026-01-01"}]}, r"choices\[0\]: created"),
        ({"description": 4}, "description"),
        ({"description": "x" * 20_001}, "description: 20001 characters"),
        ({"described_by": "<b>"}, "described_by"),
    ],
)
def test_what_is_no_profile_is_refused_and_changes_nothing(value: Any, told: str) -> None:
    if isinstance(value, dict):
        value = {"format": "fspo-profile", "version": 1} | value
    with pytest.raises(FspoError, match=told):
        brought(value)


def test_the_model_does_not_describe_what_has_changed(profiles: Profiles, user: str) -> None:
    profiles.choose("a", user, "q", "yes", "no")
    version = profiles.get("a", user).version
    profiles.choose("a", user, "r", "yes", "no")
    assert profiles.describe("a", user, "late", "model", version).description == ""
    version = profiles.get("a", user).version
    assert profiles.describe("a", user, "in time", "model", version).description == "in time"


def test_what_is_deleted_is_gone_from_the_disk(tmp_path: Path) -> None:
    profiles = Profiles(open_database(str(tmp_path / "a.db")))
    for n in range(50):
        profiles.choose("a", "u", f"q{n}", "a secret of mine", "no")
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a secret of mine" in on_disk
    assert profiles.delete("a", "u")
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a secret of mine" not in on_disk
    assert profiles.delete("a", "u") is None


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(FspoError, match=r"fspo:\*\*\*@127.0.0.1:1/x: cannot be opened") as error:
        open_database("postgresql://fspo:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(error.value)
    (tmp_path / "text.db").write_text("no database at all, but text" * 100)
    with pytest.raises(FspoError, match=r"text\.db: cannot be opened"):
        open_database(str(tmp_path / "text.db"))
    with pytest.raises(FspoError, match="use a path"):
        open_database("mongo://x")
    newer = tmp_path / "newer.db"
    open_database(str(newer)).engine.dispose()
    with create_engine(f"sqlite:///{newer}").begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FspoError, match="newer version of fspo"):
        open_database(str(newer))
