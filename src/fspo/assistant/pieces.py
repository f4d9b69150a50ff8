"""Text on its way: from what a model has written so far to pieces that are never taken back.

What may yet turn out to be something else is held back: white space and unseen signs, which the
template's next heading may follow; backslashes at the start of a line, which `restore` may undo;
half a character; and what a stop string may begin with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fspo.learning.templates import LINE_ENDS, UNSEEN, before_next_heading, restore

_HALF = "\ufffd"  # what half a character is decoded as
_LINE_END = re.compile(f"[{LINE_ENDS}]")
_BLANK = re.compile(rf"[\s{UNSEEN}]")  # what may stand before a heading


def whole(text: str, stop: Sequence[str] = (), templated: bool = True) -> str:
    """Returns what somebody is told of what a model wrote.

    Args:
        text: as decoded; half a character at its end is left out.
        stop: the text ends before the first of these that it completes.
        templated: whether it was written where a template leaves off: then it ends before the
            next heading, escapes are undone, and it has no white space around it.
    """
    return _cut(_told(text.rstrip(_HALF), templated), stop)[0]


class Pieces:
    """Takes a text again and again as it grows; all pieces together are `whole` of the last one.

    Attributes:
        ended: whether a heading or a stop string has ended it.
    """

    def __init__(self, stop: Sequence[str] = (), templated: bool = True) -> None:
        self.ended = False
        self._stop, self._templated = [text for text in stop if text], templated
        self._sent = 0

    def add(self, text: str) -> str:
        """The next piece, perhaps empty, now that `text` is all that has been written."""
        text = text.rstrip(_HALF)
        self.ended = self._templated and before_next_heading(text) != text
        if self._templated and not self.ended:
            text = _settled(text)
        told, stopped = _cut(_told(text, self._templated), self._stop)
        if not stopped and not self.ended:
            told = told[: len(told) - _begun(told, self._stop)]
        self.ended |= stopped
        return self._next(told)

    def rest(self, text: str) -> str:
        """The last piece, when nothing is written behind `text` any more."""
        return self._next(whole(text, self._stop, self._templated))

    def _next(self, told: str) -> str:
        piece, self._sent = told[self._sent :], max(self._sent, len(told))
        return piece


def _told(text: str, templated: bool) -> str:
    return restore(before_next_heading(text)).strip() if templated else text


def _settled(text: str) -> str:
    """`text` without what at its end may yet turn out to lead up to a heading."""
    bare = text.rstrip("\\")
    end = len(bare)
    while end and _BLANK.match(bare, end - 1):
        end -= 1
    # Backslashes are a heading's where a line begins with them, and else letters like others.
    begins = end == 0 or _LINE_END.search(bare, end)
    return text if bare != text and not begins else text[:end]


def _cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` before the stop string that is complete first, and whether there is one."""
    places = [(text.find(own) + len(own), text.find(own)) for own in stop if own and own in text]
    return (text[: min(places)[1]], True) if places else (text, False)


def _begun(text: str, stop: Sequence[str]) -> int:
    """Returns how much at the end of `text` may be the beginning of a stop string."""
    lengths = (k for own in stop for k in range(1, len(own)) if text.endswith(own[:k]))
    return max(lengths, default=0)
