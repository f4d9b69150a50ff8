"""Erases deleted data from the disk: SQLite's log is emptied, and the database written anew.

`secure_delete` overwrites a row where it stands. But the write-ahead log (`-wal`) still holds it as
it was written, and where rows were moved when pages grew full, copies stay behind in the pages'
free space, which only VACUUM leaves out. Emptying the log has to wait for whoever is reading an
older state of the database.

A deletion raises `user_version` in its own transaction, and it is 0 again once all is gone: so a
server that was killed in between goes on with it when it is started again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Text, event, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import ORMExecuteState, Session

from fspo.console import say

_PATIENCE = 1.0  # seconds that a reader is waited for while somebody waits for an answer
_LATER = 0.1  # the same in the background: nobody can write meanwhile
_SECONDS_BETWEEN_TRIES = 2.0
_LARGE = (
    20_000_000  # bytes, which take 0.2 s to write anew; more of them are left to the background
)
_WORK_SHARE = 20  # in the background the database is written anew for 1/20 of the time at most


class WritingSession(Session):
    """A session that notes whether it deletes anything, or overwrites a text."""

    @property
    def erases(self) -> bool:
        """Returns whether something that stood in the database is to be gone."""
        return bool(self.info.get("erases"))


@event.listens_for(WritingSession, "before_flush")
def _flushed(session: WritingSession, *_: Any) -> None:
    if session.deleted or any(map(_overwrites, session.dirty)):
        session.info["erases"] = True


@event.listens_for(WritingSession, "do_orm_execute")
def _executed(state: ORMExecuteState) -> None:
    if state.is_delete:
        state.session.info["erases"] = True


def note_erasure(session: WritingSession) -> None:
    """Notes in SQLite, in the transaction itself, that something is to be gone from the disk."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        count = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        connection.exec_driver_sql(f"PRAGMA user_version={count % 2**30 + 1}")


def _overwrites(row: object) -> bool:
    """Returns whether a text of somebody's is replaced; states, tokens and names are not."""
    state = inspect(row)
    texts = [c.key for c in state.mapper.column_attrs if isinstance(c.columns[0].type, Text)]
    return any(old for key in texts for old in state.attrs[key].history.deleted)


class Erasure:
    """Empties the log, at once or as soon as it can be; on PostgreSQL there is nothing to do here.

    PostgreSQL decides itself when it overwrites what was deleted, so that is never complete.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._counting, self._emptying = threading.Lock(), threading.Lock()
        self._wanted = self._done = 0
        self._retrying: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def complete(self) -> bool:
        """Returns whether all that was deleted so far is gone from the disk."""
        return self._done >= self._wanted

    def erase(self, patience: float = _PATIENCE, told: bool = True) -> None:
        """Empties the log after something was deleted; if it cannot be, tries again by itself.

        Args:
            patience: seconds that readers are waited for.
            told: whether it is said that it could not be done yet.
        """
        with self._counting:
            self._wanted += 1
            mine = self._wanted
        if not self._is_sqlite or self._empty(mine, patience):
            return
        with self._counting:
            if self._retrying is not None:
                return
            self._ended.clear()
            again = threading.Thread(target=self._retry, args=(told,), daemon=True)
            self._retrying = again
        if told:
            say(
                f"{self._name}: what was deleted is not yet gone from the disk (another program "
                f"may be using {self._name}, or it is large); trying again"
            )
        again.start()

    def close(self) -> None:
        """Tries a last time; says what has to wait for the next start."""
        self._ended.set()
        retrying = self._retrying
        if retrying is not None:
            retrying.join()
        if not self._is_sqlite or self.complete:
            return
        if not self._empty(self._wanted, _PATIENCE, large=True):
            say(
                f"{self._name}: what was deleted is not yet gone from {self._name} and "
                f"{self._name}-wal; it goes when the database is opened again"
            )

    @property
    def _name(self) -> str:
        return Path(self._engine.url.database or "").name

    def _retry(self, told: bool) -> None:
        pause = _SECONDS_BETWEEN_TRIES
        while not self._ended.wait(pause):
            begun = time.monotonic()
            self._empty(self._wanted, _LATER, large=True)
            pause = max(_SECONDS_BETWEEN_TRIES, _WORK_SHARE * (time.monotonic() - begun))
            with self._counting:
                if self.complete:
                    self._retrying = None
                    break
        else:
            self._retrying = None
            return
        if told:
            say(f"{self._name}: what was deleted is gone from the disk")

    def _empty(self, mine: int, patience: float, large: bool = False) -> bool:
        """Erases, unless somebody has done so since number `mine` was deleted."""
        with self._emptying:
            if self._done >= mine:
                return True
            reached = self._wanted
            try:
                with self._engine.connect() as connection:
                    raw: Any = connection.connection.driver_connection
                    gone = _erased(raw, patience, large)
            except (sqlite3.Error, SQLAlchemyError):  # such as a full disk
                return False
            if gone:
                self._done = reached
            return gone


def _erased(raw: sqlite3.Connection, patience: float, large: bool) -> bool:
    """Empties the log and writes the database anew, if it is to be; False if that has to wait."""
    before = _value(raw, "busy_timeout")
    raw.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
    try:
        deletions = _value(raw, "user_version")
        if _value(raw, "wal_checkpoint(TRUNCATE)"):  # 1: somebody is in the way
            return False
        if not deletions:
            return True
        if not large and _value(raw, "page_count") * _value(raw, "page_size") > _LARGE:
            return False
        raw.execute("VACUUM")
        if _value(raw, "wal_checkpoint(TRUNCATE)"):
            return False
        raw.execute("BEGIN IMMEDIATE")
        if _value(raw, "user_version") == deletions:  # nothing was deleted meanwhile
            raw.execute("PRAGMA user_version=0")
        raw.execute("COMMIT")
        return True
    finally:
        raw.execute(f"PRAGMA busy_timeout={before}")


def _value(raw: sqlite3.Connection, pragma: str) -> int:
    return int(raw.execute(f"PRAGMA {pragma}").fetchone()[0])
