"""Runs an application: where it listens, and what its log says, which is no text and no key."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fspo.console import say
from fspo.errors import FspoError
from fspo.web.addresses import BehindProxy

if TYPE_CHECKING:
    from fastapi import FastAPI


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
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
        FspoError: if the address is taken.
    """
    import socket

    import uvicorn

    if behind_proxy:
        app.add_middleware(BehindProxy)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise FspoError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); take another"
        ) from error
    config = uvicorn.Config(
        app,
        access_log=False,  # its lines would hold participants' links
        log_level="warning",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        proxy_headers=False,  # `BehindProxy` believes less of them
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if certificate else "http"
    say(f"listening on {scheme}://{shown}:{listener.getsockname()[1]}/  (Ctrl-C ends it)")
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def in_thread(app: FastAPI) -> Iterator[int]:
    """Serves from a thread, on a free port of this machine; gives the port."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=15)
