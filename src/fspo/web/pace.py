"""Limits how often something may happen in a minute, by a clock that nobody sets."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

_WINDOW = 60.0  # seconds


class Pace:
    """Counts what happened in the last minute, for each of any number of keys."""

    def __init__(self, a_minute: int) -> None:
        self._most = a_minute
        self._times: dict[str, deque[float]] = {}
        self._cleared = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, keys: Sequence[str]) -> float:
        """Counts once for each key and gives 0; or, counting nothing, the seconds to wait."""
        moment = time.monotonic()
        with self._lock:
            self._clear(moment)
            counted = [self._times.setdefault(key, deque()) for key in keys]
            for times in counted:
                while times and moment - times[0] >= _WINDOW:
                    times.popleft()
            full = [times[0] for times in counted if len(times) >= self._most]
            if full:
                return max(full) + _WINDOW - moment
            for times in counted:
                times.append(moment)
            return 0.0

    def _clear(self, moment: float) -> None:
        """Forgets, once a minute, the keys of which nothing was heard since."""
        if moment - self._cleared >= _WINDOW:
            self._cleared = moment
            self._times = {
                key: times
                for key, times in self._times.items()
                if times and moment - times[-1] < _WINDOW
            }
