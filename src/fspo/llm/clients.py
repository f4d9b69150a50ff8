"""Clients of model servers, made in one place: whatever keeps one from being made is one line."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fspo.errors import FspoError
from fspo.llm.faults import shown, without_key

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

DEFAULT_ADDRESS = "https://api.openai.com/v1"


def server_name(model: str, base_url: str | None, key: str) -> str:
    """Returns a name for a model on a server, model and host; both, and the key, are checked.

    Raises:
        FspoError: if no request can be sent to such an address, or with such a key.
    """
    host, port = _place(model, base_url)
    name = f"{model}@{f'{host}:{port}' if port else host}"
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", key):
        what = "a line feed" if "\n" in key or "\r" in key else "a space at an end, or no ASCII"
        raise FspoError(
            f"{name}: the key cannot be sent to a server: there is {what} in it, or it is empty. "
            "Put it into its environment variable again, and nothing else."
        )
    return name


def sync_client(name: str, key: str, base_url: str | None, timeout: float) -> OpenAI:
    """A client for one request at a time in each thread.

    Raises:
        FspoError: if it cannot be made, by the fault of a proxy or a certificate, say.
    """
    try:
        from openai import DefaultHttpxClient, OpenAI

        http = DefaultHttpxClient(follow_redirects=False, trust_env=not _is_here(base_url))
        return OpenAI(api_key=key, base_url=base_url, timeout=timeout, http_client=http)
    except Exception as error:  # also ImportError, OSError, and what the HTTP library raises
        raise _not_made(name, key, error) from error


def async_client(name: str, key: str, base_url: str | None, timeout: float) -> AsyncOpenAI:
    """A client for many requests at once, which tries nothing again by itself.

    Raises:
        FspoError: as `sync_client`.
    """
    try:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        http = DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not _is_here(base_url))
        return AsyncOpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http
        )
    except Exception as error:
        raise _not_made(name, key, error) from error


def _place(model: str, base_url: str | None) -> tuple[str, int | None]:
    address = DEFAULT_ADDRESS if base_url is None else base_url
    told = without_key(repr(address), "")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise FspoError(f"{model}: {told} is no address of a server: {error}") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", address):
        raise FspoError(
            f"{model}: {told} is no address of a server: write it as http://HOST:PORT/v1 or "
            "https://HOST/v1"
        )
    return host, port


def _is_here(base_url: str | None) -> bool:
    """Returns whether a server is on this machine with no proxy before it."""
    parts = urlsplit(base_url or DEFAULT_ADDRESS)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    return loopback and parts.scheme == "http"


def _not_made(name: str, key: str, error: Exception) -> FspoError:
    told = shown(str(error), key) or type(error).__name__
    if isinstance(error, ImportError) and "socks" in told.lower():
        return FspoError(
            f"{name}: ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names a SOCKS proxy, which needs "
            "another package: `pip install socksio`. Or take the proxy out of the environment."
        )
    if isinstance(error, OSError):  # also of ssl
        return FspoError(
            f"{name}: the certificates cannot be read ({told}): see to SSL_CERT_FILE and "
            "SSL_CERT_DIR in the environment."
        )
    return FspoError(
        f"{name}: no connection can be prepared ({told}): see to the server's address, and to "
        "ALL_PROXY, HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the environment."
    )
