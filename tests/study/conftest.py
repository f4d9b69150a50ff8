"""A study with answers that are there at once, and somebody who walks through its pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from fspo.assistant.backend import Abilities, Messages, Person, Reply
from fspo.llm.sampling import Sampling
from fspo.study.app import create_app
from fspo.study.reading import read_study
from fspo.study.visiting import Page
from fspo.web.database import open_database

EXAMPLE = Path(__file__).parents[2] / "src/fspo/study/example.yaml"


class FakeBackend:
    """Says whose answer it is, and what it was told of the person."""

    abilities = Abilities(models=("fake",))

    def __init__(self, name: str, text: Callable[[str], str] | None = None) -> None:
        self.name, self.text = name, text or (lambda question: f"{name} on {question}")
        self.people: list[Person] = []
        self.forgotten: list[str] = []
        self.fails = 0

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        self.people.append(person)
        return self._say(messages)

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        return self._say(messages)

    def forget(self, key: str) -> None:
        self.forgotten.append(key)

    def _say(self, messages: Messages) -> Reply:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("no answer")
        return Reply(iter([self.text(messages[-1]["content"])]))


class Walker:
    """Somebody in a browser."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.url = client, "/"

    def begin(self, **parameters: str) -> Page:
        page = Page(self.client.get("/", params=parameters).text)
        response = self.client.post("/consent", data=page.fields | {"agree": "yes"})
        self.url = response.url.path
        return Page(response.text)

    def look(self) -> Page:
        return Page(self.client.get(self.url).text)

    def send(self, page: Page, **fields: str) -> Page:
        return Page(self.client.post(page.action, data=page.fields | fields).text)

    def next(self, page: Page, choose: Callable[[Page], str] = lambda _: "left") -> Page:
        """Does what the page asks for."""
        if page.action.endswith("/answer"):
            return self.send(page, choice=choose(page))
        if page.action:
            return self.send(page)
        return self.look()

    def walk(self, choose: Callable[[Page], str] = lambda _: "left", **parameters: str) -> Page:
        """From consent to the code."""
        return self.finish(self.begin(**parameters), choose)

    def finish(self, page: Page, choose: Callable[[Page], str] = lambda _: "left") -> Page:
        """From where one is to the code."""
        for _ in range(5000):
            if "code" in page.texts:
                return page
            page = self.next(page, choose)
        raise AssertionError("the study does not end")


def attentive(page: Page) -> str:
    """Chooses personal's answers, and what attention checks ask for."""
    left = page.texts["left"]
    return "left" if re.search(r"^personal|Seven\.|Rain falls", left) else "right"


@pytest.fixture
def definition() -> dict[str, Any]:
    """The example, without waiting; a test changes what it is about."""
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    found["limits"]["min_seconds"] = 0
    return found


class Running:
    """A study with everything that a test looks at."""

    def __init__(self, folder: Path, definition: dict[str, Any], database: str = "") -> None:
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump(definition, allow_unicode=True, sort_keys=False), "utf-8")
        self.study, self.pools = read_study(file)
        self.where = database or str(folder / "study.db")
        self.database = open_database(self.where)
        self.backends = {name: FakeBackend(name) for name in self.study.methods}
        self.app = create_app(
            self.study, self.pools, self.database, self.backends, requests_a_minute=100_000
        )

    def client(self) -> TestClient:
        return TestClient(self.app, base_url="http://localhost")


@pytest.fixture
def run(tmp_path: Path, definition: dict[str, Any]) -> Iterator[Running]:
    running = Running(tmp_path, definition)
    with running.client():  # runs the worker
        yield running


@pytest.fixture
def walker(run: Running) -> Walker:
    return Walker(run.client())


@pytest.fixture(name="attentive")
def _attentive() -> Callable[[Page], str]:
    return attentive


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Running]:
    """Starts a study that a test defines, in a place of its own."""

    def started(definition: dict[str, Any], database: str = "") -> Running:
        return Running(tmp_path, definition, database)

    return started


@pytest.fixture
def walk_in() -> Callable[[Running], Walker]:
    """Somebody in a browser of their own."""
    return lambda running: Walker(running.client())
