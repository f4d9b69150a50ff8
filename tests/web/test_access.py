"""Who may read what, by any order of making and revoking: a model that knows, and all that is held.

A walk of random acts goes on keys, sign-ins, participants and researchers. After each, everything
that anybody ever held (keys, cookies, links; living and dead) is tried against every profile.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from pretend_backend import PretendBackend
from servers import postgresql
from sqlalchemy import select
from starlette.testclient import TestClient

from fspo.assistant import app as assistant
from fspo.assistant import callers, keys
from fspo.errors import FspoError
from fspo.study import app as study
from fspo.study import researcher
from fspo.study.reading import read_study
from fspo.study.records import read_records
from fspo.study.tables import Recruitment
from fspo.study.visiting import Page
from fspo.web.database import Database, open_database

USERS = ["ann", "bob"]
ACCOUNTS = ["", "shop", "ann"]
NAMES = ["ann", "bob", "shop", "me"]
BOTH = (True, False)
PASSWORDS = ["a long password", "another long one"]


@dataclass
class Held:
    """What somebody holds, and what it opens: None for any user of the account."""

    secret: str
    account: str
    user: str | None
    name: str  # the key's
    living: bool = True

    def opens(self, account: str, user: str) -> bool:
        return self.living and self.account == account and self.user in (None, user)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: Any, tmp_path: Any) -> Iterator[Database]:
    if request.param == "sqlite":
        found = open_database(str(tmp_path / "a.db"))
        yield found
        found.close()
        return
    with postgresql(tmp_path) as url:
        found = open_database(url)
        yield found
        found.close()


class Keys:
    """Keys, sign-ins and profiles, as they should be."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self.database, self.rng = database, rng
        keys.add_key(database, "first")  # so that keys are needed, whatever comes
        self.app = assistant.create_app(PretendBackend(), database, requests_a_minute=10**9)
        keys.revoke_key(database, "first")
        self.keys: list[Held] = []
        self.tried: Counter[tuple[str, bool]] = Counter()  # what was tried, and whether it opened
        self.cookies: list[Held] = []
        self.csrf: dict[str, str] = {}
        self.kept: dict[tuple[str, str], set[str]] = {}  # profile -> what stands in it

    def client(self) -> TestClient:
        return TestClient(self.app, "http://127.0.0.1", follow_redirects=False)

    def make(self) -> None:
        name, account = self.rng.choice(NAMES), self.rng.choice(ACCOUNTS)
        user = self.rng.choice([None, *USERS])
        taken = any(key.living and key.name == name for key in self.keys)
        try:
            secret = keys.add_key(self.database, name, account, user)
        except FspoError:
            assert taken
            return
        assert not taken
        self.keys.append(Held(secret, account or name, user, name))

    def revoke(self) -> None:
        if living := [key for key in self.keys if key.living]:
            key = self.rng.choice(living)
            keys.revoke_key(self.database, key.name)
            for held in (*self.keys, *self.cookies):
                held.living = held.living and held.name != key.name

    def sign_in(self) -> None:
        if not self.keys:
            return
        key, client = self.rng.choice(self.keys), self.client()
        client.post("/login", data={"key": key.secret})
        assert (callers.COOKIE in client.cookies) == key.living
        if key.living:
            page, cookie = client.get("/").text, client.cookies[callers.COOKIE]
            self.csrf[cookie] = page.partition('name="csrf" content="')[2].partition('"')[0]
            self.cookies.append(Held(cookie, key.account, key.user or callers.ME, key.name))

    def sign_out(self) -> None:
        if living := [cookie for cookie in self.cookies if cookie.living]:
            cookie = self.rng.choice(living)
            headers = {"Cookie": f"{callers.COOKIE}={cookie.secret}"}
            self.client().post("/logout", data={"csrf": self.csrf[cookie.secret]}, headers=headers)
            cookie.living = False

    def write(self) -> None:
        if living := [key for key in self.keys if key.living]:
            key = self.rng.choice(living)
            user, mark = key.user or self.rng.choice([*USERS, callers.ME]), uuid4().hex
            made = {"prompt": mark, "chosen": "yes", "rejected": "no", "user": user}
            headers = {"Authorization": f"Bearer {key.secret}"}
            self.client().post("/v1/preferences", json=made, headers=headers).raise_for_status()
            self.kept.setdefault((key.account, user), set()).add(mark)

    def delete(self) -> None:
        if living := [key for key in self.keys if key.living]:
            key = self.rng.choice(living)
            user = key.user or self.rng.choice(USERS)
            headers = {"Authorization": f"Bearer {key.secret}"}
            gone = self.client().delete(f"/v1/profile?user={user}", headers=headers)
            gone.raise_for_status()
            self.kept.pop((key.account, user), None)

    def check(self) -> None:
        client = self.client()
        everything = {mark for marks in self.kept.values() for mark in marks}
        ways = [(held, {"Authorization": f"Bearer {held.secret}"}) for held in self.keys]
        ways += [
            (held, {"Cookie": f"{callers.COOKIE}={held.secret}",
                    "X-CSRF-Token": self.csrf[held.secret]})
            for held in self.cookies
        ]  # fmt: skip
        ways.append((Held("", "", None, "", living=False), {}))
        for held, headers in ways:
            for user in (None, *USERS, callers.ME):
                named = {"user": user} if user else {}
                answer = client.get("/v1/profile", params=named, headers=headers)
                own = user or held.user or ""
                may = held.opens(held.account, own) and bool(own)
                assert (answer.status_code == 200) == may, (held, user, answer.text)
                read = {mark for mark in everything if mark in answer.text}
                assert read == (self.kept.get((held.account, own), set()) if may else set())
                self.tried["".join(headers)[:6], may and bool(read)] += 1
                if not held.living:
                    assert answer.status_code == 401


class People:
    """Participants and researchers, as they should be."""

    def __init__(self, database: Database, rng: random.Random, folder: Any) -> None:
        self.database, self.rng = database, rng
        example = Path(researcher.__file__).parent / "example.yaml"
        definition = yaml.safe_load(example.read_text("utf-8"))
        definition["limits"]["min_seconds"] = 0
        (folder / "study.yaml").write_text(yaml.safe_dump(definition), "utf-8")
        read, pools = read_study(folder / "study.yaml")
        backends = {name: PretendBackend() for name in read.methods}
        self.app = study.create_app(read, pools, database, backends, 1, 10**9)
        self.links: dict[str, bool] = {}
        self.pids: set[str] = set()
        self.passwords: dict[str, str] = {}
        self.cookies: list[list[Any]] = []  # cookie, csrf, name, living
        self.numbers: set[int] = set()
        self.tried: set[bool] = set()  # whether cookies that were tried were living

    def client(self) -> TestClient:
        return TestClient(self.app, "http://localhost", follow_redirects=False)

    def begin(self) -> None:
        client, pid = self.client(), self.rng.choice(["", f"p{self.rng.randrange(6)}"])
        page = Page(client.get("/", params={"PROLIFIC_PID": pid} if pid else {}).text)
        sent = client.post("/consent", data=page.fields | {"agree": "yes"})
        assert sent.status_code == (409 if pid in self.pids else 303)
        if sent.status_code == 303:
            self.links[sent.headers["location"]] = True
            self.pids.add(pid)
            self.pids.discard("")
            before = self.numbers
            self.numbers = before | {p.number for p in read_records(self.database).people}
            assert len(self.numbers) == len(before) + 1  # never one that somebody had

    def withdraw(self) -> None:
        if living := [link for link, there in self.links.items() if there]:
            link, client = self.rng.choice(living), self.client()
            page = Page(client.get(f"{link}/withdraw").text)
            assert client.post(page.action, data=page.fields).status_code == 200
            self.links[link] = False
            self.pids = set(recruited(self.database))

    def set_password(self) -> None:
        name, password = self.rng.choice(USERS), self.rng.choice(PASSWORDS)
        researcher.set_password(self.database, name, password)
        self.passwords[name] = password
        self.end(name)

    def remove(self) -> None:
        name = self.rng.choice(USERS)
        if self.passwords.pop(name, None):
            researcher.remove(self.database, name)
        else:
            with pytest.raises(FspoError):
                researcher.remove(self.database, name)
        self.end(name)

    def end(self, name: str) -> None:
        for cookie in self.cookies:
            cookie[3] = cookie[3] and cookie[2] != name

    def sign_in(self) -> None:
        client, name = self.client(), self.rng.choice(USERS)
        password = self.rng.choice(PASSWORDS)
        client.post("/researcher/login", data={"name": name, "password": password})
        right = self.passwords.get(name) == password
        assert ("fspo_researcher" in client.cookies) == right
        if right:
            csrf = Page(client.get("/researcher").text).fields["csrf"]
            self.cookies.append([client.cookies["fspo_researcher"], csrf, name, True])

    def check(self) -> None:
        client = self.client()
        for link, there in self.links.items():
            assert client.get(link).status_code == (200 if there else 404)
        people = len(read_records(self.database).people)
        assert people == sum(self.links.values())
        for cookie, csrf, name, living in self.cookies:
            headers = {"Cookie": f"fspo_researcher={cookie}"}
            self.tried.add(living)
            for path in ("/researcher", "/researcher/results"):
                found = client.get(path, headers=headers)
                assert found.status_code == (200 if living else 303), (name, path)
            if not living:  # nor may it delete
                for number in self.numbers:
                    data = {"csrf": csrf, "number": str(number)}
                    client.post("/researcher/delete", data=data, headers=headers)
                assert len(read_records(self.database).people) == people
        assert client.get("/researcher").status_code == 303


def recruited(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(Recruitment.prolific_pid)))


@pytest.mark.parametrize("seed", [0])
def test_nobody_reads_who_may_not_by_any_order_of_keys(database: Database, seed: int) -> None:
    world = Keys(database, random.Random(seed))
    acts = [world.make] * 4 + [world.revoke] * 2 + [world.sign_in] * 3
    acts += [world.sign_out, *[world.write] * 3, world.delete]
    for step in range(60):
        world.rng.choice(acts)()
        if step % 4 == 3:
            world.check()
    # Keys and cookies, that opened what is somebody's, and that opened nothing.
    assert {way for way in world.tried if way[0]} == set(product(("Author", "Cookie"), BOTH))


def test_nobody_reads_who_may_not_by_any_order_of_people(
    database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(researcher, "_TRIES_A_MINUTE", 10**6)
    world = People(database, random.Random(7), tmp_path)
    acts = [world.begin] * 3 + [world.withdraw] * 2 + [world.sign_in] * 5
    acts += [world.set_password, world.remove]
    for step in range(60):
        world.rng.choice(acts)()
        if step % 6 == 5:
            world.check()
    assert world.tried == set(BOTH)
