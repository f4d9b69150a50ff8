"""Secrets and who is signed in: passwords hashed with Argon2, tokens kept as hashes alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import String, delete, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from fspo.web.database import Base, Database, Moment, now

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


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
    """What is stored of a token: a random one of 256 bits needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """What is stored of a password that a person made up (Argon2id)."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def password_fits(password: str, hashed: str) -> bool:
    """Whether this is the password; takes as long either way."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def sign_in(database: Database, room: str, subject: str, hours: float) -> str:
    """Begins a session and gives the token for its cookie; clears those away that have ended.

    Args:
        database: where it is kept.
        room: which application; a session of one is nothing in another.
        subject: who it is, in the application's own words, which never come to mean another.
        hours: how long it lasts.
    """
    token = new_token()
    with database.writing() as session:
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
    """Who holds this token in this room; None for nobody, or one whose time has ended."""
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
    """What a form of this session must send along: another site cannot know it."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def csrf_fits(token: str, given: str) -> bool:
    """Whether what came with a form is the session's own."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode())


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
