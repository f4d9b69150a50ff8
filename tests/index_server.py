"""A package index on a thread of this process: what it lists and gives is a dictionary."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Index:
    """Its pages by their paths, as (content type, bytes, whole length) or a status.

    Attributes:
        url: of the server.
        pages: what it gives; a list is given one after the other, the last one again and again.
        asked: the path and the headers of each request.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []


@contextmanager
def index_server() -> Iterator[Index]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append((self.path, dict(self.headers)))
            page = index.pages.get(self.path, 404)
            if isinstance(page, list):
                page = page.pop(0) if len(page) > 1 else page[0]
            if isinstance(page, int):
                self.send_error(page)
                return
            kind, content, length = page
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index = Index(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()


def forget_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of pip or uv, and no proxies, but those that a test makes."""
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "PROXY", "CERT"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "http_proxy", "HTTP_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
