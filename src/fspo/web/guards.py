"""Guards of both applications: headers, limits of size and rate, and the last resort.

They are plain ASGI, so that answers stream through them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fspo.web.addresses import network
from fspo.web.logs import log, place_of
from fspo.web.pace import Pace

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_HEADERS = 16_384  # bytes
_AT_ONCE = 256  # requests
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # links hold participants' tokens
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def add_guards(app: FastAPI, longest: int, a_minute: int, only_here: bool) -> None:
    """Puts all of them before an application, in their order.

    Args:
        app: the application.
        longest: bytes of a request, at most.
        a_minute: requests of one address, at most.
        only_here: nobody has signed up, so that only this machine is served; a request by another
            name leads here only if somebody else's page has made it.
    """
    # The last one that is added is the first one to be asked.
    app.add_middleware(SizeLimit, most=longest)
    app.add_middleware(Crowd, most=_AT_ONCE)
    app.add_middleware(RateLimit, a_minute=a_minute)
    if only_here:
        names = ["localhost", "127.0.0.1", "[::1]", "::1"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    app.add_middleware(Faults)
    app.add_middleware(Headers)


class Headers:
    """Adds the security headers; a route that sets one of them itself is left alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, with headers on the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = HEADERS | (_OVER_TLS if scope["scheme"] == "https" else {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in wanted.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class SizeLimit:
    """Refuses a request whose headers or body are too long, whatever it says of itself.

    A body is counted while the application reads it: one that it does not want is not read.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the body on up to the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            await _refusal(431, f"the headers are longer than {MOST_HEADERS} bytes")(
                scope, receive, send
            )
            return
        told, size = f"the request is longer than {self._most} bytes", 0
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 15 or int(length) > self._most:
            await _refusal(413, told)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise HTTPException(413, told)
            return message

        await self._app(scope, counted, send)


class Crowd:
    """Serves so many requests at a time, and tells the others to come back."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most, self._now = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 503 where there are too many."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._now >= self._most:
            response = _refusal(503, "too many requests at once; try again soon")
            response.headers["Retry-After"] = "2"
            await response(scope, receive, send)
            return
        self._now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._now -= 1


class Faults:
    """Answers what nobody foresaw by a status, and logs its place: its words may be somebody's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 503 where the database is full, locked or away, and else 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:
            pass
        except Exception as error:
            log(f"a request failed: {place_of(error)}")
            if not begun:  # or else the connection is closed, and the client sees that it broke off
                await _fault(error)(scope, receive, send)


def _fault(error: Exception) -> JSONResponse:
    from sqlalchemy.exc import SQLAlchemyError

    from fspo.web.faults import TOLD

    if not isinstance(error, SQLAlchemyError):
        return _refusal(500, "something went wrong here; it is in the server's log")
    response = _refusal(503, TOLD)
    response.headers["Retry-After"] = "10"
    return response


class RateLimit:
    """Lets an address ask only so many times a minute; static files are free."""

    def __init__(self, app: ASGIApp, a_minute: int) -> None:
        self._app, self._pace = app, Pace(a_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 429, with the seconds to wait, where there have been too many."""
        if scope["type"] != "http" or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        seconds = self._pace.wait([network((scope.get("client") or ("",))[0])])
        if not seconds:
            await self._app(scope, receive, send)
            return
        wait = max(1, math.ceil(seconds))
        response = _refusal(429, f"too many requests; try again in {wait} s")
        response.headers["Retry-After"] = str(wait)
        await response(scope, receive, send)


def error_body(status: int, message: str) -> dict[str, Any]:
    """A refusal in the form of the OpenAI interface, which every client of ours can read."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse(error_body(status, message), status)
