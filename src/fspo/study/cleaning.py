"""Texts as they are stored: without what cannot be seen and some databases refuse."""

from __future__ import annotations

import re

# Control signs but for tabs and line feeds, and halves of characters, which UTF-8 cannot hold.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def clean(text: str, most: int | None = None) -> str:
    """The text with line feeds alone between its lines, and `most` characters long at most."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("", plain).strip()[:most]
