"""Sends requests: so many at once, so many a second, until somebody says stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from fspo.errors import FspoError
from fspo.llm.meter import Meter
from fspo.llm.pace import Pace
from fspo.llm.requests import Request


class StoppedError(Exception):
    """Nothing more may be asked."""


class Place(NamedTuple):
    """A place on the wire: the money that is set aside for it, and when it was taken."""

    reserved: float
    started: float


class Wire:
    """The places on the wire to one server.

    Attributes:
        busy: how many places are taken.
    """

    def __init__(self, pace: Pace, pause: float) -> None:
        """`pause` is the least time between two starts, in seconds."""
        self._pace = pace
        self._pause = pause
        self._next_start = 0.0
        self._line = asyncio.Lock()
        self._stop = asyncio.Event()
        self._settled = asyncio.Event()
        self.busy = 0

    def stop(self) -> None:
        """Lets nothing onto the wire any more; what is on it goes on."""
        self._stop.set()

    @asynccontextmanager
    async def place(self, request: Request, meter: Meter) -> AsyncIterator[Place]:
        """Waits for a place, for the server and for money, and gives what was set aside.

        Raises:
            StoppedError: if nothing more may be asked.
            FspoError: if the budget is used up, whatever those under way still give back.
        """
        async with self._line:  # one after the other; only the first looks whether it may start
            await self._start()
            reserved = await self._reserve(request, meter)
            started = asyncio.get_running_loop().time()
            self._pace.start(started)
            self.busy += 1
        try:
            yield Place(reserved, started)
        finally:
            self.busy -= 1
            self._settled.set()  # wakes who waits for a place or money; the next wait for the next
            self._settled = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Waits, but not longer than until everything is stopped."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _start(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._stop.is_set():
            if self.busy and self.busy >= int(self._pace.places):
                await self._settled.wait()
            elif (wait := max(self._next_start - now(), self._pace.wait(now()))) > 0:
                await self.pause(wait)
            else:
                self._next_start = max(now(), self._next_start) + self._pause
                return
        raise StoppedError

    async def _reserve(self, request: Request, meter: Meter) -> float:
        while True:
            try:
                return meter.reserve(request)
            except FspoError:
                if not self.busy:  # nobody will give anything back
                    raise
            await self._settled.wait()
            if self._stop.is_set():
                raise StoppedError
