"""Messages and progress with time left, on standard error.

Standard output is left to data (`--json`), so that it can be piped. In a terminal progress is a
live bar; elsewhere (a log file, CI) it is a line every few seconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator
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
_AT_ONCE = 0.5  # seconds: what is done by then was kept by an earlier run, and says no pace
_PACE_OVER = 600.0  # seconds: a batch may take a minute, which is longer than rich looks back


def say(message: str) -> None:
    """Prints one line to standard error, with nothing in it read as markup."""
    console.print(escape(message), soft_wrap=True)


def track(
    items: Iterable[T], description: str, total: int, size: Callable[[T], int] = lambda _: 1
) -> Iterator[T]:
    """Yields `items` while showing how much of `total` is done and how much time is left.

    Args:
        items: the work, or its results as they come.
        description: what it is.
        total: of all items together.
        size: how much of it an item is; by default they are counted.
    """
    if not console.is_terminal:
        yield from _track_in_lines(items, description, total, size)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=_PACE_OVER) as progress:
        task = progress.add_task(escape(description), total=total)
        for item in items:
            yield item
            progress.advance(task, size(item))


def _track_in_lines(
    items: Iterable[T], description: str, total: int, size: Callable[[T], int]
) -> Iterator[T]:
    start = last = time.monotonic()
    done = at_once = 0
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - start < _AT_ONCE:
            at_once = done
        elif now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - start) / max(1, done - at_once) * (total - done)
            say(f"{description}: {done} of {total}, about {left:.0f} s left")
