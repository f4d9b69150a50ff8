"""Reads a server's refusals: in its own words, and whose fault it is.

Servers say so in many forms: an error object as OpenAI's, a list of fields as FastAPI's, an error
in the place of an answer with status 200, plain text, a page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_WORDS = 160  # characters; servers answer with whole pages
_LONGEST_READ = 20_000

_SAID = ("error", "message", "detail", "details", "msg", "error_message", "errors", "reason",
         "description", "title", "raw")  # fmt: skip
_FILTERED = re.compile(
    r"content[ _-]?(filter|polic|moderat|management|safety|violat)|moderation|flagged"
    r"|responsible ?ai|inappropriate|data_inspection_failed|usage polic|prohibited|harmful|unsafe"
    r"|safety (system|filter|polic|setting|reason)"
    r"|(prompt|request|input|output|content|text|message) (was|is|has been|were|got) "
    r"(blocked|rejected|refused|filtered)|sensitive (content|words?|information)"
    r"|violat(es|ion|ing)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size|limit)|maximum (prompt|input) length"
    r"|(prompt|input|message|request)s? (is|are) too (long|large)",
    re.IGNORECASE,
)
WITHHELD = (
    "content_filter", "content-filter", "contentfilter", "refusal", "safety", "blocked",
    "prohibited_content", "recitation", "blocklist", "spii", "sensitive",
)  # fmt: skip


class ErrorReply(Exception):  # noqa: N818
    """An error in the place of an answer, with status 200."""

    def __init__(self, body: Any) -> None:
        super().__init__("an error in the place of an answer")
        self.body = body


@dataclass(frozen=True)
class Fault:
    """Why there is no answer.

    Attributes:
        status: the server's; 0 if it said nothing.
        words: the server's or the network's, on one line.
        codes: short names that the server gives it.
        fields: of the request, that the server says are at fault.
        wait: seconds that it asks for until the next request; None if it does not.
    """

    status: int
    words: str
    codes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    wait: float | None = None

    @property
    def is_too_long(self) -> bool:
        """Returns whether this request is longer than the server takes."""
        told = f"{self.words} {' '.join(self.codes)}"
        return self.status == 413 or (self.status in (400, 422) and bool(_TOO_LONG.search(told)))

    @property
    def is_filtered(self) -> bool:
        """Returns whether the server stops what this request says."""
        told = f"{self.words} {' '.join(self.codes)}"
        return (
            self.status >= 200
            and self.status not in (401, 402, 429)
            and bool(_FILTERED.search(told))
        )

    @property
    def is_of_settings(self) -> bool:
        """Returns whether it may be a setting that the server refuses."""
        passing = (401, 402, 408, 409, 413, 429, 502, 503, 504, 529)
        return self.status >= 200 and self.status not in passing

    @property
    def asks_to_slow_down(self) -> bool:
        """Returns whether there are too many requests."""
        if "insufficient_quota" in self.codes:  # which no waiting mends
            return False
        return self.status in (429, 529) or (self.status == 503 and self.wait is not None)

    @property
    def is_passing(self) -> bool:
        """Returns whether it may be gone on another try."""
        return self.status in (0, 200, 408, 409, 425) or self.status >= 500


def fault_of(error: BaseException, key: str) -> Fault:
    """Returns what an error of the client says, without the key."""
    response = getattr(error, "response", None)
    body = getattr(error, "body", None)
    if response is None and body is not None and not isinstance(error, ErrorReply):
        error = ErrorReply({"error": body})  # in the middle of a stream
    if isinstance(error, ErrorReply):
        return _read(200, json.dumps(error.body), None, key)
    if response is None:
        cause = error.__cause__
        more = f" {cause}" if cause is not None and str(cause) not in str(error) else ""
        return Fault(0, shown(f"{error}{more}", key) or type(error).__name__)
    try:
        text = response.text
    except Exception:  # of a stream that was not read, or broke off
        text = _unread(response)
    return _read(response.status_code, text, _asked_wait(response.headers), key)


def filtered(choice: Any) -> str:
    """Why an answer was withheld, by a choice of a completion; "" if it was not."""
    finish = str(choice.get("finish_reason") or "").lower()
    message = choice.get("message") or {}
    refusal = message.get("refusal") if not message.get("content") else None
    if isinstance(refusal, str) and refusal:
        return refusal
    return f"finish_reason {finish}" if finish in WITHHELD else ""


def shown(text: str, key: str) -> str:
    """`text` on one line, shortly, without the key or parts of it."""
    printable = (letter if letter.isprintable() else " " for letter in text[:_LONGEST_READ])
    line = " ".join("".join(printable).split())
    line = without_key(line, key)
    return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]}…"


def without_key(text: str, key: str) -> str:
    """`text` without a key, or what servers show of one (`sk-ab****yz`).

    A short key is taken off only where it stands alone: it may be part of any word.
    """
    text = re.sub(r"//[^\s/@]*@", "//", text)  # a name and a password in an address
    if len(key) < _PART:
        return re.sub(rf"(?<![\w-]){re.escape(key)}(?![\w-])", "[key]", text) if key else text
    parts = {key[k : k + _PART] for k in range(len(key) - _PART + 1)}
    is_key = [False] * len(text)
    for k in range(len(text) - _PART + 1):
        if text[k : k + _PART] in parts:
            is_key[k : k + _PART] = [True] * _PART
    kept = "".join("\0" if own else letter for letter, own in zip(text, is_key, strict=True))
    kept = re.sub("\0+", "[key]", kept)
    return _MASKED.sub(lambda found: _without_mask(found, key), kept)


_PART = 8  # characters of a key that are not there by chance
# A word is looked at from its start alone, and whole (`++`): so a message is read once.
_MASKED = re.compile(r"((?<![\w-])[\w-]++|)(?:\*{2,}|•{2,}|…|\.{3,})([\w-]*)")


def _without_mask(found: re.Match[str], key: str) -> str:
    begin, end = found[1], found[2]
    of_key = (begin and key.startswith(begin)) or (end and key.endswith(end))
    return "[key]" if of_key else found[0]


def _unread(response: Any) -> str:
    try:
        response.read()
        return str(response.text)
    except Exception:
        return ""


def _read(status: int, text: str, wait: float | None, key: str) -> Fault:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = re.sub(r"<[^<>]{0,500}>", " ", text[:_LONGEST_READ])
    codes = tuple(str(code).lower() for code in _found(body, ("code", "type", "status")))
    if status == 200:  # an error that says its status itself
        status = next((int(code) for code in codes if re.fullmatch("[45][0-9][0-9]", code)), 200)
    fields = tuple(str(field) for field in _found(body, ("param", "loc")))
    return Fault(status, shown(_words(body), key) or "no words", codes, fields, wait)


def _words(body: Any, depth: int = 0) -> str:
    """Returns what a body says, of whatever form."""
    if isinstance(body, str):
        return body
    if depth > 5:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (_words(part, depth + 1) for part in body[:5])))
    if not isinstance(body, dict):
        return ""
    said = next(
        (words for name in _SAID if name in body and (words := _words(body[name], depth + 1))), ""
    )
    if isinstance(body.get("loc"), list):
        said = f"{'.'.join(str(part) for part in body['loc'][:6])}: {said}"
    more = [body.get("code"), body.get("param"), _words(body.get("metadata"), depth + 1)]
    told = [part for part in more if isinstance(part, str) and part and part not in said]
    return f"{said} ({', '.join(told)})" if said and told else said or ", ".join(told)


def _found(body: Any, names: tuple[str, ...], depth: int = 0) -> Iterator[Any]:
    """Yields what stands under these names; not in what a server repeats of a request."""
    if depth > 5:
        return
    if isinstance(body, list):
        for part in body[:20]:
            yield from _found(part, names, depth + 1)
    elif isinstance(body, dict):
        for name, value in body.items():
            if name in names and isinstance(value, list):
                yield ".".join(str(part) for part in value[:6])
            elif name in names and isinstance(value, str | int):
                yield value
            elif name not in ("input", "ctx"):
                yield from _found(value, names, depth + 1)


def _asked_wait(headers: Any) -> float | None:
    """Returns what `retry-after` asks for, in seconds: a number of them, or a date."""
    told = str(headers.get("retry-after") or "").strip()
    try:
        wait = float(told)
    except ValueError:
        try:
            moment = parsedate_to_datetime(told)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, wait) if wait == wait else None
