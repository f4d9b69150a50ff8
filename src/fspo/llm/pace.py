"""Limits the rate of requests: slower at once when a server says so, faster again bit by bit.

As in TCP: a refusal takes a share off how many requests are under way and how many are started in a
second; every answer adds a little. Nobody has to know a server's limits.
"""

from __future__ import annotations

from collections import deque

FEWER = 0.7  # of the requests at once and a second, after a refusal
MORE_AT_ONCE = 0.25  # after an answer
MORE_A_SECOND = 0.05  # of the rate after the last refusal, after an answer
SLOWEST = 1 / 30  # requests a second
_LOOKED_BACK = 5.0  # seconds over which a rate is measured


class Pace:
    """The limits that one server was found to have. Times are of a monotonic clock, in seconds.

    Attributes:
        places: requests at once.
        rate: requests a second; None as long as nothing was refused.
        held_until: nothing is sent before that.
        refused_since: when it first asked to slow down since its last answer; None if it has not.
        refusals: times that it asked to slow down since its last answer.
    """

    def __init__(self, most_places: int) -> None:
        """`most_places` are never exceeded, however well it goes."""
        self._most = most_places
        self.places = float(most_places)
        self.rate: float | None = None
        self.held_until = 0.0
        self.refused_since: float | None = None
        self.refusals = 0
        self._slowed = 0.0  # when it last became slower
        self._floor = 0.0  # the rate then
        self._starts: deque[float] = deque()
        self._next = 0.0

    def start(self, now: float) -> None:
        """Takes note of a request that is sent."""
        self._starts.append(now)
        while self._starts[0] < now - _LOOKED_BACK:
            self._starts.popleft()
        if self.rate is not None:
            self._next = max(now, self._next) + 1 / self.rate

    def wait(self, now: float) -> float:
        """Seconds until the next request may be sent."""
        return max(self.held_until, self._next) - now

    def went_well(self) -> None:
        """Takes note of an answer: a little faster."""
        self.refused_since, self.refusals = None, 0
        self.places = min(self._most, self.places + MORE_AT_ONCE)
        if self.rate is not None:
            self.rate += self._floor * MORE_A_SECOND

    def refused(self, started: float, now: float, hold: float) -> None:
        """Takes note that a request, started then, was one too many: slower, after `hold`.

        Requests that were under way together are refused together, and count as one.
        """
        self.held_until = max(self.held_until, now + hold)
        if self.refused_since is None:
            self.refused_since = now
        if started < self._slowed:
            return
        begun = max(self._slowed, now - _LOOKED_BACK)
        sent = [start for start in self._starts if start >= begun]
        measured = len(sent) / max(now - max(begun, sent[0]), 0.001) if sent else SLOWEST
        measured = measured if self.rate is None else min(self.rate, measured)
        self.places = max(1.0, self.places * FEWER)
        self.rate = self._floor = max(SLOWEST, measured * FEWER)
        self._slowed = now
        self._next = self.held_until
        self.refusals += 1
