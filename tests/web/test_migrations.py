"""Databases of earlier versions: brought up to date without loss, and with ids used only once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from servers import postgresql
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import make_url

import fspo.web.migrations
from fspo.assistant.keys import add_key, caller_of, list_keys, revoke_key
from fspo.assistant.profiles import Profiles
from fspo.study.records import read_records
from fspo.study.tables import Participant
from fspo.web.database import Base, open_database
from fspo.web.sessions import digest, signed_in

WHEN = "2026-01-02 03:04:05"
ROWS = {
    "signed_in": [
        ("token", digest("cookie")), ("room", "assistant"), ("subject", "1"),
        ("expires", "2090-01-01 00:00:00"),
    ],
    "api_keys": [
        ("id", 1), ("digest", digest("fspo-old")), ("name", "old"), ("account", "shop"),
        ("user", None), ("scopes", "chat profile"), ("created", WHEN), ("last_used", None),
    ],
    "profiles": [
        ("id", "p1"), ("account", "shop"), ("user", "ann"), ("description", "a poet"),
        ("described_by", "person"), ("version", 3), ("created", WHEN),
    ],
    "choices": [
        ("id", "c1"), ("profile", "p1"), ("number", 1), ("prompt", "q"), ("chosen", "yes"),
        ("rejected", "no"), ("superseded_by", None), ("created", WHEN),
    ],
    "study_definitions": [
        ("id", 1), ("fingerprint", "f"), ("definition", "{}"), ("since", WHEN),
    ],
    "study_researchers": [("name", "eva"), ("password", "hash")],
    "study_participants": [
        ("id", 5), ("number", 4), ("token", digest("link")), ("language", "en"),
        ("begun", WHEN), ("seen", WHEN), ("instructed", WHEN), ("labeled", None),
        ("introduced", None), ("finished", None),
    ],
    "study_recruitment": [
        ("participant", 5), ("prolific_pid", "pid"), ("study_id", "s"), ("session_id", "t"),
    ],
    "study_items": [
        ("id", 9), ("participant", 5), ("place", 0), ("stage", "judge"), ("question", "why?"),
        ("left", ""), ("right", ""), ("left_method", "a"), ("right_method", "b"),
        ("right_choice", ""), ("source", ""), ("shown", WHEN), ("skipped", None),
    ],
    "study_answers": [("item", 9), ("choice", "left"), ("seconds", 2.5), ("answered", WHEN)],
    "study_generations": [
        ("id", 7), ("item", 9), ("method", "a"), ("state", "done"), ("urgent", False),
        ("attempts", 1), ("claim", ""), ("text", "because"), ("finish_reason", "stop"),
        ("seconds", 1.0), ("queued", WHEN), ("made", WHEN),
    ],
    "study_descriptions": [("participant", 5), ("method", "a"), ("text", "tall")],
    "study_replies": [("participant", 5), ("name", "mood"), ("value", "good")],
    "study_events": [
        ("id", 1), ("participant", 5), ("kind", "too_soon"), ("place", 0), ("at", WHEN),
    ],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: Any, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "old.db")
    else:
        with postgresql(tmp_path) as url:
            yield url


def make_old(where: str) -> None:
    """A database as version 0002 of the tables left it, with a row in every table."""
    url = make_url(where if "://" in where else f"sqlite:///{where}")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")

    config = Config()
    config.set_main_option("script_location", str(Path(fspo.web.migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for table, row in ROWS.items():
            names = ", ".join(f'"{name}"' for name, _ in row)
            marks = ", ".join(f":{name}" for name, _ in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), dict(row))
        if engine.dialect.name == "postgresql":
            raise_sequences(connection)
    engine.dispose()


def raise_sequences(connection: Connection) -> None:
    for table, row in ROWS.items():
        if row[0][0] == "id" and isinstance(row[0][1], int):
            connection.execute(text(f"SELECT setval('{table}_id_seq', {row[0][1]})"))


def test_an_older_database_is_brought_up_to_date_without_loss(where: str) -> None:
    make_old(where)
    database = open_database(where)
    with database.reading() as session:
        for table, row in ROWS.items():
            names = ", ".join(f'"{name}"' for name, value in row if value != WHEN)
            [found] = session.execute(text(f"SELECT {names} FROM {table}")).all() or [None]
            wanted = tuple(value for _, value in row if value != WHEN)
            if table == "signed_in":
                assert found is None  # whose it is cannot be told
            else:
                assert found == wanted, table
    [person] = read_records(database).people
    assert person.replies == {"mood": "good"}
    assert Profiles(database).get("shop", "ann").choices[0].chosen == "yes"
    assert caller_of(database, digest("fspo-old")) is not None
    assert signed_in(database, "assistant", "cookie") is None
    database.engine.dispose()
    open_database(where).engine.dispose()  # nothing more to do


def test_an_upgraded_database_is_like_a_new_one(where: str, tmp_path: Path) -> None:
    make_old(where)
    upgraded = open_database(where)
    found = inspect(upgraded.engine)
    new = inspect(open_database(str(tmp_path / "new.db")).engine)
    for name in Base.metadata.tables:
        for of in ("get_columns", "get_pk_constraint"):
            names = [[c["name"] for c in x] if of == "get_columns" else x["constrained_columns"]
                     for x in (getattr(found, of)(name), getattr(new, of)(name))]  # fmt: skip
            assert names[0] == names[1], (name, of)
        uniques = [
            {tuple(c["column_names"]) for c in x.get_unique_constraints(name)} for x in (found, new)
        ]
        assert uniques[0] == uniques[1], name
        keys = [
            {
                (tuple(k["constrained_columns"]), k["referred_table"], k["options"]["ondelete"])
                for k in x.get_foreign_keys(name)
            }
            for x in (found, new)
        ]
        assert keys[0] == keys[1], name
    upgraded.engine.dispose()


def test_ids_and_numbers_that_became_free_are_not_given_again(where: str) -> None:
    make_old(where)
    database = open_database(where)
    seen = {1}
    for name in ("old", "a", "b"):
        revoke_key(database, name)
        add_key(database, {"old": "a", "a": "b", "b": "c"}[name])
        with database.reading() as session:
            [number] = session.scalars(text("SELECT id FROM api_keys"))
        assert number not in seen
        seen.add(number)
    assert [key["name"] for key in list_keys(database)] == ["c"]
    with database.writing() as session:
        session.delete(session.get(Participant, 5))
    with database.reading() as session:
        assert session.scalar(text("SELECT begun FROM study_definitions")) == 5
        for table in ("study_items", "study_answers", "study_generations", "study_replies"):
            assert session.execute(text(f"SELECT 1 FROM {table}")).first() is None, table
        if database.engine.dialect.name == "sqlite":
            kept = dict(session.execute(text("SELECT name, seq FROM sqlite_sequence")).all())
            assert kept["study_participants"] == 5
            assert kept["study_items"] == 9
            assert kept["study_generations"] == 7
    database.engine.dispose()
