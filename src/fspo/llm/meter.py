"""Counts tokens and money, and stops spending before a budget is exceeded."""

from __future__ import annotations

from dataclasses import dataclass, field

from fspo.errors import FspoError
from fspo.llm.requests import Reply, Request

_CHARACTERS_A_TOKEN = 3  # at least, for text in most languages: an estimate must not be too low
_TOKENS_A_MESSAGE = 8  # for the marks of roles and turns


@dataclass(frozen=True)
class Price:
    """What a model costs, for a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6

    def at_most(self, request: Request) -> float:
        """What an answer to `request` may cost, for a text of usual length a token."""
        characters = sum(len(content) for _, content in request.messages)
        read = characters // _CHARACTERS_A_TOKEN + _TOKENS_A_MESSAGE * len(request.messages)
        return self.of(read, request.max_tokens)


@dataclass
class Purse:
    """What a run may spend, on all of its models together.

    Attributes:
        budget: the most that may be spent; None for no limit.
        spent: what answers have cost so far.
        promised: what the requests under way may still cost.
    """

    budget: float | None = None
    spent: float = 0.0
    promised: float = 0.0

    def promise(self, cost: float) -> None:
        """Sets aside what a request may cost.

        Raises:
            FspoError: if the budget does not allow it.
        """
        if self.budget is not None and self.spent + self.promised + cost > self.budget:
            raise FspoError(
                f"the budget of {self.budget:g} is used up: {self.spent:.4f} spent, "
                f"{self.promised:.4f} set aside, and the next request may cost {cost:.4f}. "
                "All answers are kept: raise the budget and run again to go on."
            )
        self.promised += cost

    def settle(self, promised: float, cost: float) -> None:
        """Pays for what was promised."""
        self.promised -= promised
        self.spent += cost


@dataclass
class Meter:
    """What one model was asked and what it cost."""

    price: Price = Price()
    purse: Purse = field(default_factory=Purse)
    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def promise(self, request: Request) -> float:
        """Sets aside what `request` may cost, and returns it."""
        cost = self.price.at_most(request)
        self.purse.promise(cost)
        return cost

    def settle(self, promised: float, reply: Reply | None) -> None:
        """Counts an answer; None if the request came to nothing."""
        if reply is None:
            self.purse.settle(promised, 0.0)
            return
        self.requests += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        self.purse.settle(promised, self.price.of(reply.input_tokens, reply.output_tokens))
