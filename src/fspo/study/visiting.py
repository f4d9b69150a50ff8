"""A participant's browser, as small as it can be: cookies, forms, and what stands on a page."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urlencode

_VOID = ("input", "meta", "link", "br", "hr", "img")


class Page(HTMLParser):
    """The contents of a page.

    Attributes:
        texts: of the elements that have an id, by that id.
        fields: the hidden fields of its form.
        action: where its form is sent; "" without one.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.action = ""
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes forms, hidden fields and ids."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given.get("action", "")
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given["value"]
        if tag not in _VOID:
            self._inside.append(given.get("id", ""))

    def handle_endtag(self, tag: str) -> None:
        """Leaves an element."""
        if self._inside:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        """Notes what stands in an element that has an id."""
        if self._inside and self._inside[-1]:
            name = self._inside[-1]
            self.texts[name] = self.texts.get(name, "") + data


class Visitor:
    """One person's connection to a server on this machine.

    Attributes:
        cookies: as the server set them.
        seconds: that each request took, until its page was there.
    """

    def __init__(self, port: int, patience: float = 0.0) -> None:
        """A server that is gone is asked again for so many seconds of `patience`."""
        self._patience = patience
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookies: dict[str, str] = {}
        self.seconds: list[float] = []

    def get(self, path: str) -> tuple[str, Page]:
        """Returns where one is in the end, and what stands there."""
        return self._send("GET", path, None)

    def post(self, path: str, fields: Mapping[str, str]) -> tuple[str, Page]:
        """Sends a form; where that leads, and what stands there."""
        return self._send("POST", path, urlencode(fields))

    def close(self) -> None:
        """Closes the connection; another request opens it again."""
        self._connection.close()

    def _send(self, method: str, path: str, body: str | None) -> tuple[str, Page]:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        begun = time.monotonic()
        while True:
            try:
                self._connection.request(method, path, body, headers)
                response = self._connection.getresponse()
                text = response.read().decode("utf-8")
                break
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if time.monotonic() - begun > self._patience:
                    raise
                time.sleep(0.2)
        self.seconds.append(time.monotonic() - begun)
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        if response.status == 303:
            return self._send("GET", response.headers["Location"], None)
        return path.partition("?")[0], Page(text)
