"""Finds where a request comes from: by the connection, or by a proxy on this machine."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from starlette.requests import Request

_WITH_PORT = re.compile(
    r"\[(?P<v6>[0-9a-fA-F:.]+)\](?::\d{1,5})?|(?P<v4>[0-9.]+):\d{1,5}"
    r"|(?P<bare>[0-9a-fA-F:.]+)(?:%\w{1,64})?"
)
_OF_ONE_CUSTOMER = 64  # bits: whoever has one address of IPv6 has all that begin like it


def network_of(request: Request) -> str:
    """Returns what is counted as one client: an address, of IPv6 its /64."""
    return network(request.client.host if request.client else "")


def network(host: str) -> str:
    """An address as it is counted: of IPv6 its /64; "unknown" for what is no address."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, _OF_ONE_CUSTOMER), strict=False))
    return str(address or "unknown")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, perhaps with a port as some proxies add it; None for anything else."""
    found = _WITH_PORT.fullmatch(host)
    try:
        address = ipaddress.ip_address(found["bare"] or found["v6"] or found["v4"] if found else "")
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


class BehindProxy:
    """Takes the client and the protocol from what a proxy on this machine adds to a request.

    Of `X-Forwarded-For` only the last address is the proxy's word: a client can have sent those
    before it. A proxy that names no protocol is taken to speak TLS.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, as if it had come from the client."""
        peer = _address((scope.get("client") or ("",))[0])
        if scope["type"] == "http" and peer is not None and peer.is_loopback:
            client = _address(_last(scope, b"x-forwarded-for"))
            if client is not None:
                scope["client"] = (str(client), 0)
            said = _last(scope, b"x-forwarded-proto").lower()
            scope["scheme"] = "http" if said == "http" else "https"
        await self._app(scope, receive, send)


def _last(scope: Scope, name: bytes) -> str:
    """The last of all values that a header has, in however many lines; "" without one."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[-1].decode("latin-1").rpartition(",")[2].strip() if values else ""
