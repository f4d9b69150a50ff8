"""The database of both web applications: SQLite by default, PostgreSQL by its URL.

What was acknowledged is on the disk: SQLite writes ahead (WAL) and waits for the disk at every
commit, and a transaction that is going to write takes the write lock when it begins, so that it
never fails halfway because another one wrote in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, TypeDecorator, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase, Session

from fspo.errors import FspoError
from fspo.files import make_private
from fspo.web.erasure import Erasure, WritingSession, note_erasure

_MIGRATIONS = Path(__file__).parent / "migrations"
NEVER_AGAIN = {"sqlite_autoincrement": True}  # an id that became free is not given again
_ONE_AT_A_TIME = 7_359_213  # the number of the advisory lock under which PostgreSQL is migrated


class Base(DeclarativeBase):
    """The base of every table of the applications."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC, in databases that know time zones and in those that do not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Returns what is stored: UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Returns what is read: UTC, which SQLite does not say itself."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Database:
    """Short transactions on one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._erasure = Erasure(engine)
        if engine.dialect.name == "sqlite":  # what a server that was killed left in the log
            self._erasure.erase(patience=0.1, told=False)

    @property
    def erased(self) -> bool:
        """Returns whether what was deleted is gone from the disk, too; else it is tried again.

        PostgreSQL overwrites it when it sees fit: there it is False from the first deletion on.
        """
        return self._erasure.complete

    def close(self) -> None:
        """Closes all connections, and empties SQLite's log; can be used again afterwards."""
        self._erasure.close()
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that reads one state of the database; what it changes is dropped."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that is committed at the end, and rolled back if anything was raised.

        If it deleted anything, or overwrote a text, that is erased from the disk before the end.
        """
        engine = self.engine.execution_options(writes=True)
        with WritingSession(engine, expire_on_commit=False) as session, session.begin():
            yield session
            session.flush()
            if session.erases:
                note_erasure(session)
        if session.erases:
            self._erasure.erase()


def open_database(where: str) -> Database:
    """Opens a database and brings its tables up to date.

    Args:
        where: a path (SQLite), or a URL such as `postgresql://user:password@host/name`.

    Raises:
        FspoError: if it cannot be opened, or a newer version of this program has written it.
    """
    url = _url(where)
    shown = url.render_as_string(hide_password=True)
    try:
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            if url.database != ":memory:" and not url.query:
                make_private(Path(url.database))
        engine = create_engine(
            url, pool_pre_ping=True, pool_size=16, max_overflow=32, hide_parameters=True
        )
        if engine.dialect.name == "sqlite":
            _durable(engine)
        _migrate(engine, shown)
    except DBAPIError as error:
        told = str(error.orig).strip().partition("\n")[0]
        raise FspoError(f"--database {shown}: cannot be opened: {told}") from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise FspoError(
            f"--database {shown}: use a path (SQLite) or postgresql://user:password@host/name"
        ) from error
    return Database(engine)


def _url(where: str) -> URL:
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise FspoError(
            "--database: this is no database URL; use a path (SQLite) or "
            "postgresql://user:password@host/name"
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _durable(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin as is said below
        cursor = connection.cursor()
        for pragma in (
            "busy_timeout=20000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",  # what was deleted is overwritten
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine, shown: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with _aside(engine) as connection, connection.begin():
        if engine.dialect.name == "postgresql":  # two servers may start at the same time
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ONE_AT_A_TIME})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise FspoError(
                f"--database {shown}: was written by a newer version of fspo ({error}). "
                "Update fspo, or take another database."
            ) from error


@contextmanager
def _aside(engine: Engine) -> Iterator[Connection]:
    """A connection on which SQLite's tables can be built anew.

    To drop a table is to delete its rows, and whatever refers to them would go, too.
    """
    with engine.execution_options(writes=True).connect() as connection:
        raw: Any = connection.connection.driver_connection
        if engine.dialect.name != "sqlite":
            yield connection
            return
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            yield connection
        finally:
            raw.execute("PRAGMA foreign_keys=ON")
