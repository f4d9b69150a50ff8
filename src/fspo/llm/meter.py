"""Counts tokens and money, and stops spending before a budget is exceeded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fspo.errors import FspoError
from fspo.llm.requests import Reply, Request

_CHARACTERS_A_TOKEN = 3  # at least, for text in most languages: an estimate must not be too low
_TOKENS_A_MESSAGE = 8  # for the marks of roles and turns
_TOLD = 5  # reasons
_ENOUGH = 20  # answers, whose mean cost says more than an estimate


@dataclass(frozen=True)
class Price:
    """The price of a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Returns what so many tokens cost."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6

    def at_most(self, request: Request) -> float:
        """Returns what an answer to `request` may cost, for a text of usual length a token."""
        return self.of(*tokens_at_most(request))


def tokens_at_most(request: Request) -> tuple[int, int]:
    """Returns how many tokens `request` and its answer may have, for text of the usual kind."""
    characters = sum(len(content) for _, content in request.messages)
    read = characters // _CHARACTERS_A_TOKEN + _TOKENS_A_MESSAGE * len(request.messages)
    return read, request.max_tokens


@dataclass
class Spent:
    """The cost of one purpose's requests.

    Attributes:
        answered: how many were answered, or known already.
        paid_for: how many of these were paid for in this run.
        cost: of those.
    """

    answered: int = 0
    paid_for: int = 0
    cost: float = 0.0


class Expected(NamedTuple):
    """The expected number of one purpose's requests, and what each may cost."""

    requests: float
    each: float


@dataclass
class Budget:
    """The budget of a run, for all of its models together.

    Attributes:
        limit: the most that may be spent; None for no limit.
        spent: what answers have cost so far.
        reserved: what the requests under way may still cost.
        lost: how much of `spent` came to no answer.
        purposes: what was spent on what.
        refused: by the request's key, why a server will not answer it.
        watch: is told of every payment.
    """

    limit: float | None = None
    spent: float = 0.0
    reserved: float = 0.0
    lost: float = 0.0
    purposes: defaultdict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    refused: dict[bytes, str] = field(default_factory=dict)
    watch: Callable[[Budget], None] = lambda budget: None

    def reserve(self, cost: float) -> None:
        """Sets aside what a request may cost.

        Raises:
            FspoError: if the budget does not allow it.
        """
        # Not `>`: what cannot be compared, such as a price without end, is not allowed either.
        if self.limit is not None and not self.spent + self.reserved + cost <= self.limit:
            raise FspoError(
                f"the budget of {self.limit:g} is used up: {self.spent:.4f} spent, "
                f"{self.reserved:.4f} set aside, and the next request may cost {cost:.4f}. "
                "All answers are kept: raise the budget and run again to go on."
            )
        self.reserved += cost

    def release(self, reserved: float) -> None:
        """Takes back what was set aside."""
        self.reserved = max(0.0, self.reserved - reserved)  # rounding may leave less than none

    def pay(self, purpose: str, cost: float) -> None:
        """Pays for an answer."""
        own = self.purposes[purpose]
        own.answered += 1
        own.paid_for += 1
        own.cost += cost
        self.spent += cost
        self.watch(self)

    def lose(self, cost: float) -> None:
        """Pays for what came to no answer."""
        self.lost += cost
        self.spent += cost
        self.watch(self)

    def refusals(self) -> dict[str, int]:
        """Returns how many requests servers would not answer, by reasons, the commonest first."""
        return dict(Counter(self.refused.values()).most_common())

    def refusals_told(self) -> list[str]:
        """The commonest refusals, a line each; none if there were none."""
        reasons = list(self.refusals().items())
        lines = [f"{count} requests were refused, and left out: {why}" for why, count in reasons]
        rest = sum(count for _, count in reasons[_TOLD:])
        return lines[:_TOLD] + ([f"{rest} more were refused for other reasons"] if rest else [])

    def projected(self, expected: Mapping[str, Expected]) -> float:
        """Returns what the whole run will have cost: what is spent, and what is still to come.

        What is to come is reckoned at what answers of its purpose have cost so far, once there are
        `_ENOUGH` of them, and until then at what was expected.
        """
        total = self.spent
        for purpose, some in expected.items():
            own = self.purposes[purpose]
            each = own.cost / own.paid_for if own.paid_for >= _ENOUGH else some.each
            total += max(0.0, some.requests - own.answered) * each
        return total


@dataclass
class Meter:
    """The requests to one model and their cost."""

    price: Price = Price()
    budget: Budget = field(default_factory=Budget)
    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def reserve(self, request: Request) -> float:
        """Sets aside what `request` may cost, and returns it."""
        cost = self.price.at_most(request)
        self.budget.reserve(cost)
        return cost

    def commit(
        self,
        reserved: float,
        request: Request,
        reply: Reply | None,
        lost: tuple[int, int] = (0, 0),
    ) -> None:
        """Counts an answer, for which `reserved` was set aside.

        Args:
            reserved: what was set aside.
            request: what was asked.
            reply: the answer; None if there was none.
            lost: tokens read and written without an answer that could be used, to be paid for.
        """
        self.budget.release(reserved)
        if reply is None:
            self.input_tokens += lost[0]
            self.output_tokens += lost[1]
            if lost != (0, 0):
                self.budget.lose(self.price.of(*lost))
            return
        self.requests += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        cost = self.price.of(reply.input_tokens, reply.output_tokens)
        self.budget.pay(request.purpose, cost)
