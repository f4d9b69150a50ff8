"""Runs an application: where it listens, and what its log says, which is no text and no key."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.web.addresses import BehindProxy

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    app: FastAPI,
    host: str,
    port: int,
    certificate: str | None = None,
    key: str | None = None,
    behind_proxy: bool = False,
) -> None:
    """Serves until it is interrupted.

    Args:
        app: the application.
        host: an address to listen on.
        port: of it.
        certificate: a PEM file, for TLS; `key` is its private key's.
        key: see `certificate`.
        behind_proxy: believe X-Forwarded-For and -Proto, as `BehindProxy` does.

    Raises:
        FspoError: if one cannot listen there, or the certificate is none.
    """
    import uvicorn

    if behind_proxy:
        app.add_middleware(BehindProxy)
    check_certificate(certificate, key)
    listener = _bound(host, port)
    config = _config(
        app,
        log_level="warning",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        proxy_headers=False,  # `BehindProxy` believes less of them
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if certificate else "http"
    where = f"{scheme}://{shown}:{listener.getsockname()[1]}/"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:  # who reads this may connect at once
                say(f"listening on {where}  (Ctrl-C ends it)")

    _make_room_for_connections()
    Server(config).run(sockets=[listener])


def check_certificate(certificate: str | None, key: str | None) -> None:
    """Makes sure that TLS can be spoken with these files.

    Raises:
        FspoError: naming the file that is missing, or is none.
    """
    if certificate is None:
        if key is not None:
            raise FspoError("--key: give the certificate that it belongs to with --certificate")
        return
    files = [("--certificate", certificate)] + ([("--key", key)] if key else [])
    for option, path in files:
        try:
            Path(path).read_bytes()
        except (OSError, ValueError) as error:
            told = getattr(error, "strerror", None) or error
            raise FspoError(f"{option} {path}: cannot be read ({told})") from error
    named = " ".join(f"{option} {path}" for option, path in files)

    def no_password() -> str:
        raise FspoError(f"{named}: the private key has a password; give one without")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, no_password)
    except (ssl.SSLError, ValueError) as error:
        wanted = "a certificate and its private key, as PEM"
        wanted += "" if key else "; a key in a file of its own is given by --key"
        raise FspoError(f"{named}: this is not {wanted}") from error


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise FspoError(f"--port {port}: must be from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise FspoError(f"--host {host}: {error.strerror}; take another") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, ValueError, TypeError) as error:  # TypeError: a null character
        listener.close()
        told = getattr(error, "strerror", None) or "no such host"
        raise FspoError(
            f"--host {host} --port {port}: cannot listen there ({told}); take another"
        ) from error
    return listener


def _config(app: FastAPI, **settings: Any) -> uvicorn.Config:
    import uvicorn

    from fspo.web.connections import Connection
    from fspo.web.guards import MOST_HEADERS
    from fspo.web.logs import begin

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        access_log=False,  # its lines would hold participants' links
        h11_max_incomplete_event_size=MOST_HEADERS,
        **settings,
    )
    begin()
    return config


def _make_room_for_connections() -> None:
    """Lets this process open as many files as it may, and have fewer connections than that."""
    from fspo.web.connections import Connection

    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * Connection.most
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        Connection.most = min(Connection.most, max(16, soft // 2))


@contextmanager
def in_thread(app: FastAPI) -> Iterator[int]:
    """Serves from a thread, on a free port of this machine; gives the port."""
    import uvicorn

    server = uvicorn.Server(_config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=15)
