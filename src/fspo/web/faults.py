"""A database that fails while it is being asked: what is answered, and what the log says."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fspo.web.logs import log

TOLD = "the database cannot be used at the moment; nothing was changed. Try again later"


def log_fault(error: SQLAlchemyError) -> None:
    """Logs of which kind a fault is: its message may hold people's texts, whatever raised it."""
    log(f"the database failed: {kind_of(error)}")


def kind_of(error: SQLAlchemyError) -> str:
    """The fault's class and code, such as `OperationalError, SQLITE_FULL`."""
    original = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(error).__name__}, {code}" if code else type(error).__name__
