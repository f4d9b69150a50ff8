"""Databases that fail, and names that they do not take: a line is told, and no texts are logged."""

from __future__ import annotations

import json
import re
import resource
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pretend_backend import PretendBackend
from servers import Served, postgresql, running
from sqlalchemy import text
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.keys import add_key, revoke_key
from fspo.assistant.portable import exported
from fspo.assistant.profiles import Choice, Profile
from fspo.errors import FspoError
from fspo.web.database import Database, now, open_database

PRIVATE = ["question-4712", "answer-4713", "answer-4714", "ann-of-cleves", "a poet of 4715"]
CHOICE = {"prompt": PRIVATE[0], "chosen": PRIVATE[1], "rejected": PRIVATE[2], "user": PRIVATE[3]}
TABLES = ["profiles", "choices", "api_keys", "signed_in"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("faults")
    if request.param == "sqlite":
        found = open_database(str(folder / "a.db"))
        yield found
        found.close()
        return
    with postgresql(folder) as url:
        found = open_database(url)
        yield found
        found.close()


def fail(database: Database, table: str, event: str) -> None:
    """Makes every such change fail, with the row in the message where that can be."""
    with database.writing() as session:
        if database.engine.dialect.name == "sqlite":
            raising = "SELECT RAISE(ABORT, 'no'); END"
            session.execute(text(f"CREATE TRIGGER t BEFORE {event} ON {table} BEGIN {raising}"))
            return
        session.execute(text(
            "CREATE OR REPLACE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION "
            "'no: % %', NEW, OLD USING ERRCODE = 'disk_full'; END $$ LANGUAGE plpgsql"
        ))  # fmt: skip
        session.execute(text(
            f"CREATE TRIGGER t BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION no()"
        ))  # fmt: skip


def mend(database: Database, table: str) -> None:
    on = "" if database.engine.dialect.name == "sqlite" else f" ON {table}"
    with database.writing() as session:
        session.execute(text(f"DROP TRIGGER t{on}"))


def ask_all(client: httpx2.Client, key: str) -> list[httpx2.Response]:
    """Every way to write."""
    choice = Choice("c", "q", "a", "b", None, now())
    profile, whose = exported(Profile("", PRIVATE[3], choices=(choice,))), {"user": PRIVATE[3]}
    return [
        client.post("/v1/preferences", json=CHOICE | {"prompt": PRIVATE[0] + "?"}),
        client.post("/v1/preferences", json=CHOICE | {"user": PRIVATE[3] + "2"}),
        client.patch("/v1/profile", json=whose | {"description": PRIVATE[4]}),
        client.put("/v1/profile", params=whose, json=profile),
        client.delete("/v1/profile", params=whose),
        client.post("/login", data={"key": key}),
    ]


def test_no_fault_of_the_database_puts_texts_into_the_log(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    key = add_key(database, "the-key-of-ann", "shop")
    secrets = (*PRIVATE, key, "the-key-of-ann")
    headers = {"Authorization": f"Bearer {key}"}
    failed = set()
    app = create_app(PretendBackend(), database)
    with running(app) as address, httpx2.Client(base_url=address, headers=headers) as client:
        for table, event in product(TABLES, ("INSERT", "UPDATE", "DELETE")):
            client.post("/v1/preferences", json=CHOICE).raise_for_status()
            fail(database, table, event)
            try:
                answers = ask_all(client, key)
            finally:
                mend(database, table)
            for answer in answers:
                assert answer.status_code in (200, 303, 503), answer.text
                if answer.status_code == 503:
                    failed.add((table, event))
                    assert "x-frame-options" in answer.headers
                    assert not [text for text in secrets if text in answer.text]
            client.delete("/v1/profile", params={"user": PRIVATE[3]}).raise_for_status()
            client.delete("/v1/profile", params={"user": PRIVATE[3] + "2"}).raise_for_status()
    revoke_key(database, "the-key-of-ann")
    said = "".join(capfd.readouterr())
    assert not [text for text in secrets if text in said]
    assert "the database failed" in said
    assert "Traceback" not in said
    assert failed >= {(t, e) for t in ("profiles", "choices") for e in ("INSERT", "DELETE")}
    assert failed >= {("profiles", "UPDATE"), ("signed_in", "INSERT")}


def test_a_disk_that_is_full_is_told_in_a_line_and_loses_nothing(tmp_path: Path) -> None:
    served = Served(str(tmp_path / "a.db"), tmp_path / "log")
    try:
        with httpx2.Client(base_url=served.url) as client:
            client.post("/v1/preferences", json=CHOICE).raise_for_status()
            most = (tmp_path / "a.db-wal").stat().st_size + 5000
            resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (most, -1))
            full = [
                client.post("/v1/preferences", json=CHOICE | {"prompt": PRIVATE[0] + "x" * n})
                for n in (15_000, 19_000)
            ]
            assert {answer.status_code for answer in full} == {503}
            resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
            client.post("/v1/preferences", json=CHOICE | {"prompt": "after"}).raise_for_status()
            kept = client.get("/v1/preferences", params={"user": PRIVATE[3]}).json()["data"]
            assert [row["prompt"] for row in kept] == [PRIVATE[0], "after"]
    finally:
        served.end()
    log = (tmp_path / "log").read_text()
    assert "the database failed: OperationalError" in log
    assert not [t for t in PRIVATE if t in log]
    assert "Traceback" not in log
    with sqlite3.connect(tmp_path / "a.db") as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("name", ["a\x00b", "\x00", "a\ud800", "\udfff", "", "x" * 257])
def test_names_that_no_database_takes_are_refused_before_anything_is_read(
    database: Database, name: str
) -> None:
    headers = {"Content-Type": "application/json"}
    app = create_app(PretendBackend(), database)
    client = TestClient(app, "http://127.0.0.1", headers=headers)
    encoded = name.encode("utf-8", "surrogatepass")
    query = "?user=" + "".join(f"%{byte:02x}" for byte in encoded)

    def send(method: str, path: str, **value: Any) -> Any:
        body = json.dumps(value | {"user": name})  # half characters as JSON can write them
        return client.request(method, path, content=body)

    messages = [{"role": "user", "content": "q"}]
    told = [
        send("POST", "/v1/chat/completions", model="fspo", messages=messages),
        send("POST", "/v1/chat/completions", model="fspo-plain", messages=messages),
        send("POST", "/v1/preferences", prompt="q", chosen="a", rejected="b"),
        send("POST", "/v1/pairs"),
        send("POST", "/v1/rank", prompt="q", answers=["a", "b"]),
        send("PATCH", "/v1/profile", description="d"),
    ]
    if not re.search("[\ud800-\udfff]", name):  # a query's are read as other characters
        told += [
            client.get(f"/v1/preferences{query}"),
            client.delete(f"/v1/preferences/x{query}"),
            client.get(f"/v1/profile{query}"),
            client.put(f"/v1/profile{query}", json=exported(Profile("", "u"))),
            client.delete(f"/v1/profile{query}"),
        ]
    assert [answer.status_code for answer in told] == [400] * len(told)
    assert all("user" in answer.json()["error"]["message"] for answer in told)


@pytest.mark.parametrize("field", ["name", "account", "user"])
@pytest.mark.parametrize("value", ["a\x00b", "Caf\udce9"])
def test_keys_take_no_names_that_no_database_takes(
    database: Database, field: str, value: str
) -> None:
    with pytest.raises(FspoError, match="null character"):
        add_key(database, **{"name": "k"} | {field: value})
