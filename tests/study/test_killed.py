"""kill -9 while people answer: every choice that was acknowledged is there, once, after restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import free_port, postgresql
from sqlalchemy import select

from fspo.study.records import read_records
from fspo.study.tables import Participant, Recruitment
from fspo.study.visiting import Page, Visitor
from fspo.web.database import open_database

PEOPLE = 12
SERVER = Path(__file__).parent / "killed_server.py"


@contextmanager
def serving(file: Path, database: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, SERVER, file, database, str(port)])
    try:
        until = time.monotonic() + 60
        while True:
            try:
                Visitor(port).get("/")
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


class Person:
    """Answers until the connection is lost, and then goes on where it was."""

    def __init__(self, number: int, port: int) -> None:
        self.number, self.port = number, port
        self.url = f"/?PROLIFIC_PID={number}"
        self.acknowledged: dict[int, str] = {}
        self.finished = False
        self.cookies: dict[str, str] = {}

    def go_on(self) -> None:
        visitor = Visitor(self.port)
        visitor.cookies = self.cookies
        try:
            _, page = visitor.get(self.url)
            while "code" not in page.texts:
                page = self.do(visitor, page)
            self.finished = True
        except OSError:
            return  # the server is gone
        except Exception as error:
            if type(error).__module__ != "http.client":
                raise
        finally:
            visitor.close()

    def do(self, visitor: Visitor, page: Page) -> Page:
        if not page.action:
            time.sleep(0.05)
            return visitor.get(self.url)[1]
        place = int(page.fields.get("place", -1))
        side = side_of(self.number, place)
        more = {"choice": side, "agree": "yes"}
        where, after = visitor.post(page.action, page.fields | more)
        if page.action == "/consent":
            self.url = where
        if place >= 0:
            assert place not in self.acknowledged
            self.acknowledged[place] = side
        return after


def everybody(people: list[Person]) -> list[threading.Thread]:
    threads = [threading.Thread(target=person.go_on) for person in people]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_is_there(kind, start, definition, tmp_path):
    file = tmp_path / "study.yaml"
    start(definition).database.engine.dispose()  # writes the file
    if kind == "sqlite":
        check(file, str(tmp_path / "killed.db"))
        return
    with postgresql(tmp_path) as url:
        check(file, url)


def check(file: Path, where: str) -> None:
    port = free_port()
    people = [Person(number, port) for number in range(PEOPLE)]
    with serving(file, where, port) as server:
        threads = everybody(people)
        while sum(len(person.acknowledged) for person in people) < 6 * PEOPLE:
            time.sleep(0.01)
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert not all(person.finished for person in people)
    kept = choices(where)
    for person in people:
        # What was kept, but not yet acknowledged, may be there, too.
        own = kept.get(str(person.number), {})
        assert person.acknowledged.items() <= own.items()
    with serving(file, where, port):
        for thread in everybody(people):
            thread.join()
    assert all(person.finished for person in people)
    wanted = {str(n): {place: side_of(n, place) for place in range(22)} for n in range(PEOPLE)}
    assert choices(where) == wanted


def side_of(number: int, place: int) -> str:
    return ("left", "right")[(place + number) % 2]


def choices(where: str) -> dict[str, dict[int, str]]:
    """What the database holds, by what the recruitment platform calls people."""
    database = open_database(where)
    items = read_records(database).items_of()
    with database.reading() as session:
        people = session.execute(
            select(Recruitment.prolific_pid, Participant.number).join(
                Participant, Participant.id == Recruitment.participant
            )
        ).all()
    database.engine.dispose()
    return {pid: {i.place: i.choice for i in items[n] if i.choice} for pid, n in people}
