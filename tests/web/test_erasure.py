"""What was deleted is gone from the disk, byte by byte, however the server ends; or it is said."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pretend_backend import PretendBackend
from servers import Served
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.profiles import Choice, Profiles
from fspo.assistant.tables import ChoiceRow
from fspo.web import erasure
from fspo.web.database import Database, now, open_database
from fspo.web.erasure import WritingSession, note_erasure


def on_disk(folder: Path) -> bytes:
    """Every byte of the database, its log, its index and its journal."""
    return b"".join(path.read_bytes() for path in folder.glob("*.db*"))


def secret() -> str:
    return f"secret-{uuid4().hex}"


def eventually(check: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not check() and time.monotonic() < until:
        time.sleep(0.05)
    return check()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(str(tmp_path / "a.db"))
    yield found
    found.close()


@pytest.mark.parametrize("seed", range(2))
def test_nothing_that_was_deleted_or_replaced_is_left(
    database: Database, tmp_path: Path, seed: int
) -> None:
    # Rows of all sizes, so that pages split, join and overflow while other rows come and go.
    profiles, rng = Profiles(database), random.Random(seed)
    standing: dict[str, dict[str, str]] = {f"u{n}": {} for n in range(4)}  # by user: id -> secret
    gone: set[str] = set()
    descriptions: dict[str, str] = {}

    def text() -> str:
        return secret() + "x" * rng.choice([0, 3, 40, 100, 400, 9000])

    def choose(user: str) -> None:
        marks = [text(), text(), text()]
        choice, _ = profiles.choose("a", user, *marks)
        standing[user][choice.id] = " ".join(mark[:39] for mark in marks)

    def withdraw(user: str) -> None:
        if standing[user]:
            choice = rng.choice(sorted(standing[user]))
            assert profiles.withdraw("a", user, choice)
            gone.update(standing[user].pop(choice).split())

    def describe(user: str) -> None:
        if user in descriptions:
            gone.add(descriptions[user][:39])
        descriptions[user] = text()
        profiles.describe("a", user, descriptions[user], "person")

    def forget(user: str) -> None:
        profiles.delete("a", user)
        for marks in standing[user].values():
            gone.update(marks.split())
        standing[user].clear()
        if user in descriptions:
            gone.add(descriptions.pop(user)[:39])

    def bring(user: str) -> None:
        forget(user)
        mark = text()
        choice = Choice(uuid4().hex, mark, "yes", "no", None, now())
        profiles.bring("a", user, "", "", [choice])
        standing[user][choice.id] = mark[:39]

    acts = [choose] * 8 + [withdraw] * 4 + [describe] * 2 + [forget, bring]
    for _ in range(120):
        rng.choice(acts)(rng.choice(sorted(standing)))
        if rng.random() < 0.25:
            held = on_disk(tmp_path)
            assert not [mark for mark in gone if mark.encode() in held]
            assert database.erased
    held = on_disk(tmp_path)
    kept = " ".join(m for marks in standing.values() for m in marks.values()).split()
    assert all(mark.encode() in held for mark in kept)
    assert gone


def test_beside_an_open_reader_it_is_said_that_it_is_not_yet_gone(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = TestClient(create_app(PretendBackend(), database), "http://127.0.0.1")
    mark = secret()
    choice = {"prompt": mark, "chosen": "yes", "rejected": "no"}
    client.post("/v1/preferences", json=choice).raise_for_status()
    reader = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM choices").fetchall()
    begun = time.monotonic()
    told = client.delete("/v1/profile").json()
    assert time.monotonic() - begun < 5
    assert told == {"user": "me", "deleted": True, "erased": False}
    assert mark.encode() in on_disk(tmp_path)
    assert client.get("/v1/profile").json()["choices"] == []
    reader.execute("COMMIT")
    assert eventually(lambda: database.erased)
    assert mark.encode() not in on_disk(tmp_path)
    reader.close()
    said = capsys.readouterr().err
    assert "not yet gone from the disk" in said
    assert "is gone from the disk" in said
    assert mark not in said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_is_gone_while_the_server_runs_and_however_it_ends(how: int, tmp_path: Path) -> None:
    served = Served(str(tmp_path / "a.db"), tmp_path / "log")
    held: Any = None
    try:
        marks = [secret() for _ in range(3)]
        with httpx2.Client(base_url=served.url) as client:
            for mark in marks:
                choice = {"prompt": mark, "chosen": "yes", "rejected": "no"}
                row = client.post("/v1/preferences", json=choice).json()["id"]
            assert client.delete(f"/v1/preferences/{row}").json()["erased"]
            assert marks[2].encode() not in on_disk(tmp_path)
            assert marks[1].encode() in on_disk(tmp_path)
            held = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
            held.execute("BEGIN")
            held.execute("SELECT count(*) FROM choices").fetchall()
            assert not client.delete("/v1/profile").json()["erased"]
    finally:
        if how == signal.SIGKILL:
            served.end(how)
        if held is not None:
            held.close()
        if how != signal.SIGKILL:
            served.end(how)
    if how == signal.SIGKILL:
        open_database(str(tmp_path / "a.db")).close()
    left = on_disk(tmp_path)
    assert not [mark for mark in marks if mark.encode() in left]


def test_what_moved_while_pages_split_leaves_no_copies(tmp_path: Path, database: Database) -> None:
    profiles, rng, gone = Profiles(database), random.Random(5), []
    ids: dict[str, str] = {}
    for n in range(400):
        mark = secret() + "x" * rng.choice([0, 5, 60, 300, 1000])
        ids[profiles.choose("a", "u", str(n), mark, "no")[0].id] = mark[:39]
    with database.writing() as session:  # many at once: the log is emptied once
        for choice in rng.sample(sorted(ids), 300):
            session.delete(session.get(ChoiceRow, choice))
            gone.append(ids.pop(choice))
    assert database.erased
    held = on_disk(tmp_path)
    assert not [mark for mark in gone if mark.encode() in held]
    assert all(mark.encode() in held for mark in ids.values())


def test_a_deletion_that_was_cut_off_is_finished_at_the_next_start(tmp_path: Path) -> None:
    where = str(tmp_path / "a.db")
    database = open_database(where)
    profiles = Profiles(database)
    marks = {profiles.choose("a", "u", str(n), secret() + "x" * 300, "no")[0] for n in range(60)}
    gone = sorted(marks, key=lambda choice: choice.id)[::2]
    # As by a server that was killed when it had committed, and before it emptied anything.
    with WritingSession(database.engine.execution_options(writes=True)) as session:
        for choice in gone:
            session.delete(session.get(ChoiceRow, choice.id))
        session.flush()
        note_erasure(session)
        session.commit()
    held = on_disk(tmp_path)
    assert any(choice.chosen[:39].encode() in held for choice in gone)
    again = open_database(where)
    assert again.erased
    held = on_disk(tmp_path)
    assert not [choice for choice in gone if choice.chosen[:39].encode() in held]
    again.close()
    database.close()


def test_a_large_database_is_erased_in_the_background(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_LARGE", 1000)
    profiles, mark = Profiles(database), secret()
    profiles.choose("a", "u", mark, "yes", "no")
    profiles.delete("a", "u")
    assert not database.erased
    assert eventually(lambda: database.erased)
    assert mark.encode() not in on_disk(tmp_path)
