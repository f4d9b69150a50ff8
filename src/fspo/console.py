"""What a person sees while work goes on: messages and progress with time left, on standard error.

Standard output is left to data (`--json`), so that it can be piped. In a terminal progress is a
live bar; elsewhere (a log file, CI) it is a line every few seconds.
"""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False)

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 15.0


def say(message: str) -> None:
    """Prints one line to standard error, with nothing in it read as markup."""
    console.print(escape(message), soft_wrap=True)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yields `items` while showing how many of `total` are done and how much time is left."""
    if not console.is_terminal:
        yield from _track_in_lines(items, description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(description), total=total)
        for item in items:
            yield item
            progress.advance(task)


def _track_in_lines(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - start) / done * (total - done)
            say(f"{description}: {done} of {total}, about {left:.0f} s left")
