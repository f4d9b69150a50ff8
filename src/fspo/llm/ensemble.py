"""Several models as one: each request goes to one of them, drawn by weight from its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from fspo.llm.requests import LanguageModel, Reply, Request


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        model: who answers.
        weight: its share of the requests, relative to the others'.
        temperature: if given, it takes the place of the request's, unless that is 0 or the request
            is a choice.
    """

    model: LanguageModel
    weight: float = 1.0
    temperature: float | None = None


class Ensemble:
    """Models that share the work; who answers a request does not depend on any other request."""

    def __init__(self, members: Sequence[Member]) -> None:
        if not members or any(member.weight <= 0 for member in members):
            raise ValueError("an ensemble needs members, each with a positive weight")
        self._members = members

    @property
    def name(self) -> str:
        """All members' names and weights."""
        return " + ".join(f"{m.weight:g} {m.model.name}" for m in self._members)

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields one member's replies after the other's."""
        places: list[list[int]] = [[] for _ in self._members]
        for place, request in enumerate(requests):
            places[self._drawn(request)].append(place)
        for member, own in zip(self._members, places, strict=True):
            asked = [_warmed(requests[place], member.temperature) for place in own]
            for group in member.model.answer(asked) if asked else ():
                yield [(own[number], reply) for number, reply in group]

    def _drawn(self, request: Request) -> int:
        bounds = list(accumulate(member.weight for member in self._members))
        # Not by the members' names: a renamed model must not change everybody's share.
        share = int.from_bytes(request.key("ensemble")) / 2**128 * bounds[-1]
        return next(n for n, bound in enumerate(bounds) if share < bound or n == len(bounds) - 1)


def _warmed(request: Request, temperature: float | None) -> Request:
    if temperature is None or request.choices or not request.temperature:
        return request
    return replace(request, temperature=temperature)
