"""Texts as data: how a prompt quotes what users and models wrote, and how an answer is tidied."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# It begins behind the end of another, so that a text without any end is read once.
_SENTENCE = re.compile(r"(?<![^.!?])[^.!?]++[.!?]")
_SPACE = re.compile(r"\s+")
_REFUSAL = re.compile(r"(sure|here|i'm sorry|as an ai|i cannot|answer [ab]\b)", re.I)
_UNSEEN = ("Cc", "Cf", "Cs", "Co")  # control, format, half characters, private use


@lru_cache(maxsize=1 << 15)  # an answer is quoted in many comparisons
def quoted(text: str) -> str:
    """Every line of `text` behind "> ", so that none can pass for a line of the prompt itself."""
    return "\n".join(f"> {line}" for line in _plain(text).splitlines() or [""])


def one_line(text: str) -> str:
    """`text` on a single line, without characters that cannot be seen."""
    return _SPACE.sub(" ", _plain(text)).strip()


def sentences(text: str, most: int, longest: int) -> str | None:
    """The first whole sentences of what a model wrote, on one line, or None if it wrote none.

    Args:
        text: what it wrote.
        most: how many sentences.
        longest: how many words they may have together.
    """
    line = one_line(text).strip("\"'*_ ")
    found = "".join(whole_sentences(line)[:most]).strip()
    if _REFUSAL.match(line) or not 3 <= len(found.split()) <= longest:
        return None
    return found


def whole_sentences(line: str) -> list[str]:
    """The sentences of a line that have an end, as they stand."""
    return _SENTENCE.findall(line)


def cell(text: str) -> str:
    """`text` inside a cell of a Markdown table: no markup, no end of the cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|#!~$&])", r"\\\1", one_line(text))
    return escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def _plain(text: str) -> str:
    """Without control characters; every line ends with a line feed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in _UNSEEN)
