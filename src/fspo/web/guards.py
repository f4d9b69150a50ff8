"""What stands before both applications: headers, and limits of size and of rate.

They are plain ASGI, so that answers stream through them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fspo.web.addresses import network
from fspo.web.pace import Pace

if TYPE_CHECKING:
    from fastapi import FastAPI

_HEADERS = {
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
    app.add_middleware(RateLimit, a_minute=a_minute)
    if only_here:
        names = ["localhost", "127.0.0.1", "[::1]", "::1"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
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
        wanted = _HEADERS | (_OVER_TLS if scope["scheme"] == "https" else {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in wanted.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class SizeLimit:
    """Refuses a request whose body is longer than so many bytes, whatever it says of itself."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body up to the limit, and hands it on whole."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._most:
                told = f"the request is longer than {self._most} bytes"
                await _refusal(413, told)(scope, receive, send)
                return
        body: list[Message] = [{"type": "http.request", "body": b"".join(parts)}]

        async def replay() -> Message:
            return body.pop() if body else await receive()

        await self._app(scope, replay, send)


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


def _refusal(status: int, message: str) -> JSONResponse:
    """In the form of the OpenAI interface, which every client of ours can read."""
    return JSONResponse({"error": {"message": message, "type": "invalid_request"}}, status)
