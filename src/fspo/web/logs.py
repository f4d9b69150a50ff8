"""The server's log: one line for each kind of fault and minute, and no text of anybody's."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from pathlib import Path

from fspo.console import say

_PAUSE = 60.0  # seconds
_KINDS = 100  # that are told apart


class _Paced:
    """Counts what is not told because it was told a short while ago."""

    def __init__(self) -> None:
        self._kinds: dict[object, tuple[float, int]] = {}  # when it was told, and how many since
        self._lock = threading.Lock()

    def more(self, kind: object) -> int | None:
        """Returns how many there were since it was last told, if it is to be told now."""
        with self._lock:
            now = time.monotonic()
            if kind not in self._kinds and len(self._kinds) >= _KINDS:
                kind = None  # all others
            told, more = self._kinds.get(kind, (-_PAUSE, 0))
            if now < told + _PAUSE:
                self._kinds[kind] = told, more + 1
                return None
            self._kinds[kind] = now, 0
            return more


_said = _Paced()


def log(line: str) -> None:
    """Says a line, and the same one again after a minute at the earliest."""
    more = _said.more(line)
    if more is not None:
        say(line + _and(more))


class Sparing(logging.Filter):
    """Makes a library's records single lines, and lets each kind through once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._paced = _Paced()

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the record is told; a fault is told by type and place, not in words."""
        error = record.exc_info[1] if record.exc_info else None
        place = place_of(error) if error else ""
        more = self._paced.more((record.pathname, record.lineno, place))
        if more is None:
            return False
        text = record.getMessage().strip().splitlines()
        line = text[0] if text else record.levelname
        record.msg = line + (f": {place}" if place else "") + _and(more)
        record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None
        return True


def _and(more: int) -> str:
    return f" ({more} more like this)" if more else ""


def place_of(error: BaseException) -> str:
    """Returns what happened and where, without the error's words, which may be somebody's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[:-5:-1]  # the innermost first
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def begin() -> None:
    """Begins a server's log: nothing was told yet, and its libraries speak sparingly, too."""
    global _said
    _said = _Paced()
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        for old in [own for own in logger.filters if isinstance(own, Sparing)]:
            logger.removeFilter(old)
        logger.addFilter(Sparing())
