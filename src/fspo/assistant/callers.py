"""Finds who sends a request, and on whose behalf: a key, somebody signed in, or this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fspo.assistant.keys import NOBODY_ELSE, ROOM, Caller, caller_of, has_keys
from fspo.assistant.profiles import check_user
from fspo.web.database import Database
from fspo.web.sessions import csrf_fits, digest, signed_in

if TYPE_CHECKING:
    from starlette.requests import Request

COOKIE = "fspo_session"
ME = "me"  # the user where nobody is named


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """A request that is not served: its status, and what to say."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Callers:
    """Tells who is asking, by the keys in a database."""

    def __init__(self, database: Database, needs_keys: bool = False) -> None:
        """Decides whether keys are needed: once, so that revoking the last one opens nothing.

        Args:
            database: where the keys are.
            needs_keys: whether they are needed though there may be none (any more).
        """
        self.database = database
        self._needs_keys = needs_keys or has_keys(database)

    def need_keys(self) -> bool:
        """Returns whether nobody is served without a key: for good, from the first key on."""
        self._needs_keys = self._needs_keys or has_keys(self.database)
        return self._needs_keys

    def of(self, request: Request, scope: str) -> Caller:
        """Returns who is asking, if this may be done.

        Raises:
            Refused: 400 where a user is named in a place that is not read, 401 without a key that
                fits, 403 where the key's scopes do not hold this, or a page of another site asks.
        """
        caller = self._caller(request)
        if scope not in caller.scopes:
            raise Refused(403, f"this key has no scope {scope!r}", "insufficient_scope")
        _check_place(request)
        return caller

    def on_page(self, request: Request) -> Caller | None:
        """Returns who looks at a page: somebody signed in, or whoever sits here without keys."""
        token = request.cookies.get(COOKIE)
        found = self._signed_in(token) if token else None
        return found or (None if self.need_keys() else NOBODY_ELSE)

    def _caller(self, request: Request) -> Caller:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.need_keys():
            found = caller_of(self.database, digest(key.strip()))
            if found is None:
                raise Refused(401, "this API key is not known here", "invalid_api_key")
            return found
        token = request.cookies.get(COOKIE)
        found = self._signed_in(token) if token else None
        if token and found:
            if not csrf_fits(token, request.headers.get("x-csrf-token", "")):
                raise Refused(403, "this page is out of date; load it again", "csrf")
            return found
        if self.need_keys():
            raise Refused(401, "give an API key: Authorization: Bearer ...", "invalid_api_key")
        if not _same_site(request):
            raise Refused(403, "a page of another site asked for this", "cross_site")
        return NOBODY_ELSE

    def _signed_in(self, token: str) -> Caller | None:
        """Whoever holds this cookie: on the page, a key that speaks for many is one user's."""
        subject = signed_in(self.database, ROOM, token)
        found = caller_of(self.database, subject) if subject else None
        return replace(found, user=found.user or ME) if found else None


def user_of(caller: Caller, named: str | None) -> str | None:
    """The user that a request is about, or None where it is about nobody in particular.

    Raises:
        Refused: 403 where the key speaks for another user.
        FspoError: if no user can have this name.
    """
    if named is not None:
        check_user(named)
    if caller.user is not None:
        if named not in (None, caller.user):
            raise Refused(403, "this key speaks for another user", "wrong_user")
        return caller.user
    if named is None and caller == NOBODY_ELSE:
        return ME
    return named


def _check_place(request: Request) -> None:
    """Refuses a request whose user would be passed over, so that another's profile were meant."""
    named = request.query_params.getlist("user")
    if request.method in ("GET", "DELETE"):
        sized = request.headers.get("content-length", "0") != "0"
        if sized or "transfer-encoding" in request.headers:
            told = f"{request.method} takes no body; name the user as ?user=..."
            raise Refused(400, told, "body")
    elif request.method in ("POST", "PATCH") and named:
        raise Refused(400, "user: belongs into the body, not behind the path", "misplaced_user")
    if len(named) > 1:
        raise Refused(400, "user: is named more than once", "misplaced_user")


def _same_site(request: Request) -> bool:
    """Without keys a browser's word is all there is: other sites' pages are named in `Origin`."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
