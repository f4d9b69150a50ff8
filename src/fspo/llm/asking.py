"""Asks until what comes back can be read: a malformed answer is asked for again as another draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fspo.console import say
from fspo.llm.faults import shown
from fspo.llm.requests import LanguageModel, Reply, Request, ask

T = TypeVar("T")


def ask_readable(
    model: LanguageModel,
    requests: Sequence[Request],
    read: Callable[[str], T | None],
    tries: int,
    description: str = "",
) -> list[tuple[T | None, Reply]]:
    """Returns what `read` makes of each reply, and the reply.

    Args:
        model: who is asked.
        requests: what is asked.
        read: gives None for a text that is not what was asked for. What a model wrote is data:
            whatever it is, `read` raises nothing.
        tries: how often a request is asked, with those of its fellows that could not be read.
        description: what progress is shown as; with none, no progress is shown.

    Returns:
        In the order of the requests; None where no try could be read, with the last reply.
    """
    found: list[tuple[T | None, Reply]] = [(None, Reply("", ""))] * len(requests)
    waiting = list(range(len(requests)))
    for attempt in range(tries):
        asked = [requests[p].again(attempt) if attempt else requests[p] for p in waiting]
        for place, reply in zip(waiting, ask(model, asked, description), strict=True):
            found[place] = (read(reply.text), reply)
        # What a server will not answer, it will not answer to another draw.
        waiting = [p for p in waiting if found[p][0] is None and not found[p][1].refused]
        if not waiting:
            break
    _tell_of_unread(model, requests, found)
    return found


def _tell_of_unread(
    model: LanguageModel, requests: Sequence[Request], found: Sequence[tuple[object, Reply]]
) -> None:
    """Says so where most verdicts cannot be read: figures alone would look like ties."""
    unread = [reply for what, reply in found if what is None]
    if 2 * len(unread) > len(requests) and requests[0].choices:
        said = shown(unread[0].text, "") or unread[0].refused or "nothing at all"
        say(
            f"{model.name}: {len(unread)} of {len(requests)} verdicts are none of "
            f"{', '.join(requests[0].choices)}, and say nothing. One of them: {said}"
        )
