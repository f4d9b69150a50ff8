"""API keys: made once, shown once, kept as hashes; each with an account, scopes, perhaps a user.

A key reaches the profiles of its account alone. One that is bound to a user reaches that user's
profile alone; one that is not serves an application, which names its users itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from fspo.assistant.profiles import check_text
from fspo.assistant.tables import ApiKey
from fspo.errors import FspoError
from fspo.web.database import Database, now
from fspo.web.sessions import digest, end_sign_ins, new_token

SCOPES = ("chat", "preferences", "rank", "profile")
ROOM = "assistant"  # of those who sign in with a key: a session's subject is the key's digest
_MARK = "fspo-"


@dataclass(frozen=True)
class Caller:
    """Somebody who asks.

    Attributes:
        account: whose profiles can be reached.
        user: the only user that can be named, or None where any of the account can.
        scopes: what may be done.
    """

    account: str
    user: str | None
    scopes: frozenset[str]


# Without keys, on this machine alone: whoever sits at it.
NOBODY_ELSE = Caller("local", None, frozenset(SCOPES))


def add_key(
    database: Database,
    name: str,
    account: str = "",
    user: str | None = None,
    scopes: Sequence[str] = SCOPES,
) -> str:
    """Makes a key and returns it: it cannot be seen again.

    Args:
        database: where its hash is kept.
        name: what to call it when it is revoked.
        account: whose profiles it reaches; its own name's by default, so that no other key's.
        user: the only user that it speaks for.
        scopes: some of `SCOPES`.

    Raises:
        FspoError: if a scope is unknown, or the name is taken or empty.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        wrong = f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope"
        raise FspoError(f"--scope: {wrong}; use {', '.join(SCOPES)}")
    for option, value in (("the key's name", name), ("--account", account), ("--user", user or "")):
        if len(value) > 256 or value != value.strip():
            raise FspoError(f"{option}: at most 256 characters, and no space around them")
        check_text(option, value)
    if not name or user == "":
        raise FspoError("a key needs a name, and --user a user's name")
    if not account and name == NOBODY_ELSE.account:
        raise FspoError(
            f"the key's name: {name!r} is the account of what was stored without keys; take "
            f"another name, or give --account {name} if the key is to reach that"
        )
    token = _MARK + new_token()
    row = ApiKey(
        digest=digest(token),
        name=name,
        account=account or name,
        user=user,
        scopes=" ".join(sorted(set(scopes))),
        created=now(),
    )
    try:
        with database.writing() as session:
            session.add(row)
    except IntegrityError as error:
        raise FspoError(f"there is a key {name!r} already; revoke it, or take another name") from (
            error
        )
    return token


def revoke_key(database: Database, name: str) -> None:
    """Makes a key worthless at once, and ends whatever was signed in to with it.

    The profiles stay.

    Raises:
        FspoError: if there is no such key.
    """
    with database.writing() as session:
        gone = delete(ApiKey).where(ApiKey.name == name).returning(ApiKey.digest)
        key = session.scalar(gone)
        if key is None:
            raise FspoError(f"there is no key {name!r}; `fspo keys list` names them")
        end_sign_ins(session, ROOM, key)


def list_keys(database: Database) -> list[dict[str, Any]]:
    """Returns what is known of each key; the keys themselves are not."""
    with database.reading() as session:
        rows = session.scalars(select(ApiKey).order_by(ApiKey.id)).all()
    return [
        {
            "name": row.name,
            "account": row.account,
            "user": row.user,
            "scopes": row.scopes.split(),
            "created": row.created.isoformat(timespec="seconds"),
            "last_used": row.last_used.isoformat() if row.last_used else None,
        }
        for row in rows
    ]


def has_keys(database: Database) -> bool:
    """Returns whether there is any key."""
    with database.reading() as session:
        return bool(session.scalar(select(func.count()).select_from(ApiKey)))


def caller_of(database: Database, key: str) -> Caller | None:
    """Returns who holds the key with this digest; None where there is none, or no longer."""
    same = select(ApiKey).where(ApiKey.digest == key)
    with database.reading() as session:
        row = session.scalar(same)
    if row is None:
        return None
    today = now().date()
    if row.last_used != today:  # a write a day, not one a request
        with database.writing() as session:
            found = session.scalar(same)
            if found is None:  # revoked in between
                return None
            found.last_used = today
    return Caller(row.account, row.user, frozenset(row.scopes.split()))
