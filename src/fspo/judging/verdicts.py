"""Comparisons and verdicts: the two records of a judge, and its interface.

A labeller is a judge that makes data: its verdicts are a dataset's preferences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from fspo.preferences.records import User

Outcome = Literal["clear", "inconsistent", "unsure", "malformed"]


class Comparison(NamedTuple):
    """Two answers to a prompt, and the user on whose behalf they are compared.

    Attributes:
        user: whose description or attributes the judge goes by.
        prompt: what was asked.
        first: an answer; which of the two is first says nothing of it.
        second: the other answer.
        guidelines: what to look for on behalf of this user; may be empty.
    """

    user: User
    prompt: str
    first: str
    second: str
    guidelines: str = ""


class Verdict(NamedTuple):
    """A judge's verdict on a comparison.

    Attributes:
        outcome: "clear"; or "inconsistent", where it changes with the order of the answers;
            "unsure", where they are too close; "malformed", where nothing could be made out.
        probability: that the user prefers the first answer; 0.5 for a tie and for what is
            malformed.
        position_bias: by how much more probable an answer is for being shown first, from -0.5 to
            0.5; 0 for a judge that shows none.
    """

    outcome: Outcome
    probability: float
    position_bias: float = 0.0

    @property
    def malformed(self) -> bool:
        """Returns whether nothing could be made out."""
        return self.outcome == "malformed"


TIE = Verdict("unsure", 0.5)
MALFORMED = Verdict("malformed", 0.5)


class Judge(Protocol):
    """Something that compares answers on behalf of users."""

    @property
    def name(self) -> str:
        """Returns what reports call it."""

    def check(self, users: Sequence[User]) -> None:
        """Makes sure, before anything is written for it to judge, that it can for these users.

        Raises:
            FspoError: naming what they lack.
        """

    def judge(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Returns a verdict on each comparison, in their order.

        Args:
            comparisons: what is compared; a user of whom too little is known is malformed.
            draw: another one asks again, where verdicts are drawn at all.
            description: what progress is shown as; with none, no progress is shown.
        """
