"""A study with synthetic participants, through the real HTTP interface: does it count right?

How many answers of each comparison ours wins is set beforehand, and dealt to the participants at
random. They read the pages, recognize whose answer is on which side by its text alone, and choose.
Now and then one sends a choice twice, the second time the other one, or reloads. In the end every
row of the database is compared with what was chosen, and the result with what was set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fspo.assistant.backend import Abilities, Backend, Messages, Person, Reply
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference
from fspo.study.analysis import analyze
from fspo.study.app import create_app
from fspo.study.assignment import comparisons_of
from fspo.study.definition import Limits, Study
from fspo.study.reading import Pools
from fspo.study.records import read_records
from fspo.study.visiting import Page, Visitor
from fspo.web.database import Database
from fspo.web.serving import in_thread

_SECONDS_TO_WAIT = 0.05
_PATIENCE = 300.0  # seconds to wait for answers, beside the pauses


class Choice(NamedTuple):
    """A synthetic participant's choice; choices stand in the order in which pages came."""

    question: str
    chosen: str
    rejected: str


class MarkedBackend:
    """Answers at once, with the method's name, which nothing but the text shows."""

    abilities = Abilities(models=("marked",))

    def __init__(self, method: str) -> None:
        self._method = method

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        """Says whose answer it is."""
        return self.plain(messages, sampling)

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        """Says whose answer it is."""
        return Reply(iter([_mark(self._method, messages[-1]["content"])]))

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        """Nothing is preferred."""
        return [0.0 for _ in answers]

    def choose(
        self, person: Person, candidates: Sequence[Preference], seed: int
    ) -> tuple[int, bool]:
        """The first."""
        return 0, False

    def describe(self, person: Person) -> str:
        """Nothing."""
        return ""

    def forget(self, key: str) -> None:
        """Nothing is kept."""


def simulate(
    study: Study,
    pools: Mapping[str, Pools],
    database: Database,
    rates: Sequence[float],
    participants: int = 50,
    seed: int = 0,
    at_once: int = 8,
) -> dict[str, Any]:
    """Runs the study and compares.

    Args:
        study: what is asked; nobody has to wait `min_seconds`.
        pools: what is drawn from.
        database: an empty one.
        rates: how often ours wins, between 0 and 1, for each comparison.
        participants: how many take part.
        seed: of their choices.
        at_once: how many take part at the same time.

    Returns:
        What was put in and what came out, and whether both agree (`agrees`).

    Raises:
        FspoError: if there are not as many rates as comparisons, or the database is in use.
    """
    if len(rates) != len(study.comparisons) or not all(0 <= rate <= 1 for rate in rates):
        named = ", ".join(" against ".join(pair) for pair in study.comparisons)
        raise FspoError(f"--rate: give one between 0 and 1 for each of: {named}")
    if read_records(database).people:
        raise FspoError("--database: people have taken part there; take an empty one")
    limits = Limits(min_seconds=0, max_seconds=study.limits.max_seconds)
    study = study.model_copy(update={"limits": limits})
    wins, plans = dealt(study, rates, participants, np.random.default_rng([seed, 0]))
    backends: dict[str, Backend] = {name: MarkedBackend(name) for name in study.methods}
    app = create_app(study, pools, database, backends, requests_a_minute=1_000_000)
    start = time.monotonic()
    with in_thread(app) as port:
        crowd = Crowd(study, port, plans, seed)
        with ThreadPoolExecutor(at_once) as threads:
            said = list(threads.map(crowd.take_part, range(participants)))
    seconds = time.monotonic() - start
    return compared(study, database, said, wins) | {
        "participants": participants,
        "requests": len(crowd.seconds),
        "sent_twice": crowd.sent_twice,
        "seconds": round(seconds, 1),
    }


def dealt(
    study: Study, rates: Sequence[float], participants: int, rng: np.random.Generator
) -> tuple[list[int], list[list[list[bool]]]]:
    """Returns how often ours is to win, and for each participant and comparison, in which answers.

    Args:
        study: what is asked.
        rates: how often ours wins, between 0 and 1, for each comparison.
        participants: how many take part.
        rng: deals the wins out.
    """
    count = len(study.comparisons)
    turns = [comparisons_of(count, study.judge_questions, n) for n in range(participants)]
    wins, plans = [], [[[] for _ in range(count)] for _ in range(participants)]  # type: ignore[var-annotated]
    for comparison, rate in enumerate(rates):
        sizes = [own.count(comparison) for own in turns]
        wins.append(round(rate * sum(sizes)))
        dealt = rng.permutation(np.arange(sum(sizes)) < wins[-1]).tolist()
        for number, size in enumerate(sizes):
            plans[number][comparison], dealt = dealt[:size], dealt[size:]
    return wins, plans


class Crowd:
    """Synthetic participants: each has its number, as they begin one after the other.

    Attributes:
        seconds: that each request took.
        sent_twice: how many choices were sent twice, the second time the other one.
    """

    def __init__(
        self,
        study: Study,
        port: int,
        plans: list[list[list[bool]]],
        seed: int,
        pause: float = 0.0,
        patience: float = 0.0,
    ) -> None:
        """They walk through the study at `port`, with pauses of so many seconds on average.

        A server that is gone is waited for, for so many seconds of `patience`.
        """
        self._study, self._port, self._plans, self._seed = study, port, plans, seed
        self._pause, self._patience = pause, patience
        self._language = next(iter(study.languages))
        self._turn, self._next = threading.Condition(), 0
        self._right = {c.question: c.right for c in study.languages[self._language].checks}
        self.seconds: list[float] = []
        self.sent_twice = 0

    def take_part(self, number: int) -> list[Choice]:
        """Walks through the study; what was chosen."""
        visitor = Visitor(self._port, self._patience)
        rng = np.random.default_rng([self._seed, 1, number])
        plan = [iter(own) for own in self._plans[number]]
        try:
            url, page = self._begin(visitor, number)
            said: list[Choice] = []
            until = time.monotonic() + _PATIENCE + 100 * self._pause
            while "code" not in page.texts:
                if time.monotonic() > until:
                    raise FspoError(f"participant {number}: the study does not go on")
                if self._pause:
                    visitor.close()  # a server does not keep a connection that says nothing
                    time.sleep(self._pause * 2 * rng.random())
                page = self._go_on(visitor, url, page, said, plan, rng)
        finally:
            visitor.close()
        with self._turn:
            self.seconds += visitor.seconds
        return said

    def _begin(self, visitor: Visitor, number: int) -> tuple[str, Page]:
        with self._turn:
            self._turn.wait_for(lambda: self._next == number)
            _, page = visitor.get(f"/?PROLIFIC_PID=synthetic-{number}&STUDY_ID=simulated")
            found = visitor.post(page.action, page.fields | {"agree": "yes"})
            self._next += 1
            self._turn.notify_all()
        return found

    def _go_on(
        self,
        visitor: Visitor,
        url: str,
        page: Page,
        said: list[Choice],
        plan: list[Iterator[bool]],
        rng: np.random.Generator,
    ) -> Page:
        if not page.action:  # answers are being written
            time.sleep(max(_SECONDS_TO_WAIT, self._pause / 10))
            return visitor.get(url)[1]
        if not page.action.endswith("/answer"):
            return visitor.post(page.action, page.fields)[1]
        if rng.random() < 0.1:
            page = visitor.get(url)[1]  # reloads
        sides = {side: page.texts[side] for side in ("left", "right")}
        side = self._side(page.texts["question"], sides, plan, rng)
        other = "right" if side == "left" else "left"
        said.append(Choice(page.texts["question"], sides[side], sides[other]))
        found = visitor.post(page.action, page.fields | {"choice": side})[1]
        if rng.random() < 0.2:  # a second tab, or a double click: must change nothing
            found = visitor.post(page.action, page.fields | {"choice": other})[1]
            with self._turn:
                self.sent_twice += 1
        return found

    def _side(
        self,
        question: str,
        sides: Mapping[str, str],
        plan: list[Iterator[bool]],
        rng: np.random.Generator,
    ) -> str:
        if question in self._right:
            return next(side for side, text in sides.items() if text == self._right[question])
        for number, (one, other) in enumerate(self._study.comparisons):
            marks = {_mark(one, question): one, _mark(other, question): other}
            whose = {marks[text]: side for side, text in sides.items() if text in marks}
            if len(whose) == 2:
                return whose[one] if next(plan[number]) else whose[other]
        return ("left", "right")[int(rng.integers(2))]


def compared(
    study: Study, database: Database, said: Sequence[Sequence[Choice]], wins: Sequence[int]
) -> dict[str, Any]:
    """Every row of the database with what was said, and the result with the wins put in."""
    records = read_records(database)
    rows = [
        [
            Choice(i.question, i.left, i.right) if i.choice == "left"
            else Choice(i.question, i.right, i.left)
            for i in own
            if i.choice
        ]
        for own in records.items_of().values()
    ]  # fmt: skip
    result = analyze(study, records)
    comparisons = [
        {"put_in": put_in, "found": found["wins"], **found}
        for put_in, found in zip(wins, result["comparisons"], strict=True)
    ]
    same_rows = rows == [list(own) for own in said]
    return {
        "agrees": same_rows and all(c["put_in"] == c["found"] for c in comparisons),
        "rows_as_chosen": same_rows,
        "rows": sum(map(len, rows)),
        "comparisons": comparisons,
    }


def _mark(method: str, question: str) -> str:
    return f"{method} answers: {question}"
