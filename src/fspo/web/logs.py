"""The server's log: one line for each kind of fault and minute, and no text of anybody's."""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path

_PAUSE = 60.0  # seconds
_KINDS = 100  # that are told apart


class Sparing(logging.Filter):
    """Lets a kind of record through once a minute, with how many more of it there were."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, tuple[float, int]] = {}  # when it was told, and how many since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is told; a fault is told by its type and place, not by its words."""
        error = record.exc_info[1] if record.exc_info else None
        kind = (record.pathname, record.lineno, place_of(error) if error else "")
        if kind not in self._kinds and len(self._kinds) >= _KINDS:
            kind = ("", 0, "")  # all others
        told, more = self._kinds.get(kind, (-_PAUSE, 0))
        if time.monotonic() < told + _PAUSE:
            self._kinds[kind] = told, more + 1
            return False
        self._kinds[kind] = time.monotonic(), 0
        text = record.getMessage().strip().splitlines()
        line = text[0] if text else record.levelname
        line += f": {place_of(error)}" if error else ""
        record.msg = line + (f" ({more} more like this)" if more else "")
        record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None
        return True


def place_of(error: BaseException) -> str:
    """What happened and where, without the error's words, which may be somebody's."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-4:]]
    return " ".join(
        [type(error).__name__, *(["at", " < ".join(reversed(places))] if places else [])]
    )


def make_sparing() -> None:
    """Has the loggers of a server speak so, from now on."""
    for name in ("uvicorn.error", "asyncio", "fspo.web"):
        logger = logging.getLogger(name)
        if not any(isinstance(own, Sparing) for own in logger.filters):
            logger.addFilter(Sparing())
