"""Answers in threads of their own: so many at once, and none that nobody waits for any more.

Pages, keys and profiles are served by other threads, so that they stay quick while a model is
slow, or hangs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fspo.assistant.callers import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

AT_ONCE = 64

_left: ContextVar[threading.Event | None] = ContextVar("left", default=None)


class Abandoned(Exception):  # noqa: N818 - nobody's fault
    """Nobody waits any more for what this thread is about."""


def check_wanted() -> None:
    """Goes on if somebody waits for this thread's answer, or it is no such thread.

    Raises:
        Abandoned: if the client has gone.
    """
    left = _left.get()
    if left is not None and left.is_set():
        raise Abandoned


def wanted(pieces: Iterator[str]) -> Generator[str, None, None]:
    """An answer's pieces, as long as somebody waits for them; ends the work behind them.

    Raises:
        Abandoned: if nobody does.
    """
    try:
        for piece in pieces:
            check_wanted()
            yield piece
    finally:
        _close(pieces)


class Answers:
    """Lets so many answers be written at once."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(at_once)

    def start(self, produce: Callable[[], Iterator[T]]) -> Work[T]:
        """Begins to write, in a thread of its own.

        Raises:
            Refused: 503, if as many are being written as may be.
        """
        if not self._free.acquire(blocking=False):
            raise Refused(503, "too many answers are being written; try again soon", "busy")
        try:
            return Work(produce, self._free.release)
        except BaseException:  # such as no thread to be had
            self._free.release()
            raise

    async def one(self, request: Request, work: Callable[[], T]) -> T:
        """Returns what `work` returns.

        Raises:
            Refused: as `start`, or if the client leaves.
        """

        def produce() -> Iterator[T]:
            yield work()

        return await self.start(produce).first(request)


class Work(Generic[T]):
    """Something that a thread produces piece by piece."""

    def __init__(self, produce: Callable[[], Iterator[T]], done: Callable[[], None]) -> None:
        """Starts the thread; `done` is called at its end."""
        self._left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
        run, context = self._run, copy_context()
        # Not to be waited for at the end: it may hang.
        threading.Thread(target=context.run, args=(run, produce, done), daemon=True).start()

    def leave(self) -> None:
        """Says that nobody waits any more: the thread ends at its next piece, or turn."""
        self._left.set()

    async def first(self, request: Request) -> T:
        """The first piece.

        Raises:
            Refused: if the client leaves before it is there.
            StopAsyncIteration: if there is none.
            Exception: whatever the thread ended with.
        """
        arrives = asyncio.ensure_future(self._next())
        leaves = asyncio.ensure_future(_disconnect(request))
        try:
            await asyncio.wait({arrives, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if arrives.done():
                return arrives.result()
            raise Refused(499, "nobody waits for this answer")
        finally:
            if not arrives.done():
                self.leave()
            for task in (arrives, leaves):
                task.cancel()

    async def __aiter__(self) -> AsyncIterator[T]:
        """The pieces that follow; leaves the work when it is left."""
        try:
            while True:
                try:
                    yield await self._next()
                except StopAsyncIteration:
                    return
        finally:
            self.leave()

    async def _next(self) -> T:
        fine, found = await self._arrived.get()
        if fine:
            return found  # type: ignore[no-any-return]
        raise found

    def _run(self, produce: Callable[[], Iterator[T]], done: Callable[[], None]) -> None:
        _left.set(self._left)
        try:
            pieces = produce()
            try:
                for piece in pieces:
                    self._send(True, piece)
                    check_wanted()
            finally:
                _close(pieces)
            self._send(False, StopAsyncIteration())
        except BaseException as error:
            self._send(False, error)
        finally:
            done()

    def _send(self, fine: bool, found: Any) -> None:
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, (fine, found))


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _close(pieces: Any) -> None:
    if close := getattr(pieces, "close", None):
        close()
