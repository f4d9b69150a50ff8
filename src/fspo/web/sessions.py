"""Secrets and who is signed in: passwords hashed with Argon2, tokens kept as hashes alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, overload
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, String, delete, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from fspo.web.database import Base, Database, Moment, now

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_HASHES = threading.BoundedSemaphore(2)
_SECONDS_TO_WAIT = 2.0


class SignedIn(Base):
    """Somebody who has signed in: the hash of the token that the cookie holds."""

    __tablename__ = "signed_in"

    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    room: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(256))
    expires: Mapped[datetime] = mapped_column(Moment)


def new_token() -> str:
    """256 random bits, to be put into a link, a cookie or a key."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Returns what is stored of a token: a random one of 256 bits needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


class Busy(Exception):  # noqa: N818 - an answer, not an error
    """So many passwords are being compared that this one would have to wait too long."""


@contextmanager
def _hashing() -> Iterator[None]:
    """A turn to hash: each takes 64 MB."""
    if not _HASHES.acquire(timeout=_SECONDS_TO_WAIT):
        raise Busy
    try:
        yield
    finally:
        _HASHES.release()


def hash_password(password: str) -> str:
    """Returns what is stored of a password that a person made up (Argon2id).

    Raises:
        Busy: if too many are being hashed.
    """
    from argon2 import PasswordHasher

    with _hashing():
        return PasswordHasher().hash(password.encode("utf-8", "surrogatepass"))


def password_fits(password: str, hashed: str) -> bool:
    """Returns whether this is the password; takes as long either way.

    Raises:
        Busy: if too many are being compared.
    """
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    with _hashing():
        try:
            return PasswordHasher().verify(hashed, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False


@overload
def sign_in(database: Database, room: str, subject: str, hours: float) -> str: ...


@overload
def sign_in(
    database: Database, room: str, subject: str, hours: float, still: ColumnElement[bool]
) -> str | None: ...


def sign_in(
    database: Database,
    room: str,
    subject: str,
    hours: float,
    still: ColumnElement[bool] | None = None,
) -> str | None:
    """Begins a session and gives the token for its cookie; clears those away that have ended.

    Args:
        database: where it is kept.
        room: which application; a session of one is nothing in another.
        subject: who it is, in the application's own words, which never come to mean another.
        hours: how long it lasts.
        still: what has to hold while it begins; None is given where it does not.
    """
    token = new_token()
    with database.writing() as session:
        if still is not None and not session.scalar(select(still)):
            return None
        ended = SignedIn.expires < now()
        if session.scalar(select(exists().where(ended))):  # nothing is erased for nothing
            session.execute(delete(SignedIn).where(ended))
        session.add(
            SignedIn(
                token=digest(token),
                room=room,
                subject=subject,
                expires=now() + timedelta(hours=hours),
            )
        )
    return token


def signed_in(database: Database, room: str, token: str) -> str | None:
    """Returns who holds this token in this room; None for nobody, or one whose time has ended."""
    with database.reading() as session:
        found = session.get(SignedIn, digest(token))
    if found is None or found.room != room or found.expires < now():
        return None
    return found.subject


def sign_out(database: Database, token: str) -> None:
    """Ends a session."""
    with database.writing() as session:
        session.execute(delete(SignedIn).where(SignedIn.token == digest(token)))


def end_sign_ins(session: Session, room: str, subject: str) -> None:
    """Ends all sessions of somebody, within a transaction."""
    theirs = (SignedIn.room == room) & (SignedIn.subject == subject)
    session.execute(delete(SignedIn).where(theirs))


def csrf_token(token: str) -> str:
    """Returns what a form of this session must send along: another site cannot know it."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def csrf_fits(token: str, given: str) -> bool:
    """Returns whether what came with a form is the session's own."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode())


def from_elsewhere(request: Request) -> bool:
    """Returns whether another site's page has sent this form, which its browser says.

    A program that is no browser says nothing, and needs no protection from other sites.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def login_form(page: Response) -> Response:
    """A page with a form to sign in with: its browser has to say where the form came from."""
    page.headers["Referrer-Policy"] = "same-origin"
    return page


def set_cookie(
    request: Request, response: Response, name: str, token: str, *, same_site: str = "strict"
) -> None:
    """Puts a session's token where no script reads it; over TLS, where TLS is."""
    response.set_cookie(
        name,
        token,
        httponly=True,
        samesite=same_site,  # type: ignore[arg-type]
        secure=request.url.scheme == "https",
        path="/",
    )
