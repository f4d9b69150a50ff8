"""Remembers every answer in one SQLite file, by the content of what was asked.

A run that was interrupted asks only for what it has not been told yet, and a second run costs
nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fspo.errors import FspoError
from fspo.files import make_private
from fspo.llm.meter import Budget
from fspo.llm.requests import LanguageModel, Reply, Request, reply_of

_AT_ONCE = 500  # keys in one look-up
_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies "
    "(key BLOB PRIMARY KEY, reply TEXT, answered TEXT) WITHOUT ROWID"
)


class Store:
    """Replies by key, in a file that several processes may use at once."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or begins it.

        Raises:
            FspoError: if it cannot be opened or is not such a file.
        """
        self.path = path
        with self._named_faults():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private(path)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_TABLE)
            if not self._has_times():  # an older version's file
                with self._transaction():
                    if not self._has_times():  # still, now that nobody else can write
                        self._connection.execute("ALTER TABLE replies ADD COLUMN answered TEXT")

    def __len__(self) -> int:
        with self._named_faults():
            return int(self._connection.execute("SELECT count(*) FROM replies").fetchone()[0])

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The replies that are known."""
        found: dict[bytes, Reply] = {}
        with self._named_faults():
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT key, reply FROM replies WHERE key IN ({marks})", some
                )
                found |= {key: reply_of(json.loads(text)) for key, text in rows}
        return found

    def put(self, replies: Iterable[tuple[bytes, Reply]]) -> None:
        """Keeps all of these with the time (UTC), or none; one that is known stays as it was."""
        rows = [(key, json.dumps(reply)) for key, reply in replies]
        with self._named_faults(), self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, datetime('now'))", rows
            )

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _has_times(self) -> bool:
        columns = self._connection.execute("PRAGMA table_info(replies)")
        return "answered" in [name for _, name, *_ in columns]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _named_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            full = "full" in str(error)
            advice = "Free some space and run again" if full else "Check the place and run again"
            raise FspoError(
                f"{self.path}: {error}. {advice}: what was answered so far is kept."
            ) from error
        except sqlite3.DatabaseError as error:
            raise FspoError(
                f"{self.path}: this is not a file of replies, or it is damaged ({error}). "
                "Move it away, or choose another place."
            ) from error


class CachedModel:
    """A model that is asked only what the store does not know."""

    def __init__(
        self, model: LanguageModel, store: Store, budget: Budget | None = None, content: str = ""
    ) -> None:
        """Asks the model of that name and content.

        Args:
            model: who is asked.
            store: keeps the replies.
            budget: is told of what need not be paid for again.
            content: the model's fingerprint, where it may change under its name.
        """
        self._model = model
        self._content = content
        self._store = store
        self._budget = budget or Budget()

    @property
    def name(self) -> str:
        """The model's."""
        return self._model.name

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields what is known, then what the model says; the same request is asked once.

        That a server will not answer a request is kept, too, and told to the budget.
        """
        places: dict[bytes, list[int]] = {}
        known_as = " ".join([self.name, *([self._content] if self._content else [])])
        for place, request in enumerate(requests):
            places.setdefault(request.key(known_as), []).append(place)
        known = self._store.get(list(places))
        for key in known:
            self._budget.purposes[requests[places[key][0]].purpose].answered += 1
        self._note_refusals(known.items())
        if known:
            yield [(place, reply) for key, reply in known.items() for place in places[key]]
        missing = [key for key in places if key not in known]
        asked = [requests[places[key][0]] for key in missing]
        for group in self._model.answer(asked) if asked else ():
            replies = [(missing[number], reply) for number, reply in group]
            self._store.put(replies)
            self._note_refusals(replies)
            yield [(place, reply) for key, reply in replies for place in places[key]]

    def _note_refusals(self, replies: Iterable[tuple[bytes, Reply]]) -> None:
        self._budget.refused |= {
            key: f"{reply.model}: {reply.refused}" for key, reply in replies if reply.refused
        }
