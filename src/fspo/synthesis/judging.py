"""Labels: which of two answers a user prefers, by a model that knows the user, or by measures.

A model is asked in both orders, and where it gives probabilities they are used rather than a
sample. It is told to ignore length. What it says is data: anything but one of the two letters is
malformed and counted as such, and every line of an answer is quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, inf
from typing import Literal, NamedTuple, Protocol

from fspo.domains.domain import Domain
from fspo.llm.asking import ask_readable
from fspo.llm.requests import LanguageModel, Reply, Request
from fspo.synthesis.quoting import quoted

LETTERS = ("A", "B")
TRIES = 3  # how often a verdict is asked for, until it is a letter

Outcome = Literal["clear", "inconsistent", "unsure", "malformed"]


class Reader(NamedTuple):
    """What a labeller knows of a user.

    Attributes:
        description: who the user is.
        guidelines: what to keep in mind for this user; may be empty.
        wants: measure -> what an answer should measure.
        importance: measure -> how much it matters, where that is not 1.
    """

    description: str
    guidelines: str
    wants: Mapping[str, float]
    importance: Mapping[str, float] = {}


class Comparison(NamedTuple):
    """Two answers to a question, and who chooses."""

    reader: Reader
    question: str
    first: str
    second: str


class Verdict(NamedTuple):
    """What a labeller said.

    Attributes:
        outcome: "clear", or why the pair is not used.
        probability: that the first answer is preferred, the mean of both orders.
        lean: by how much more probable an answer is for standing first; 0 without orders.
    """

    outcome: Outcome
    probability: float
    lean: float = 0.0


class Labeller(Protocol):
    """Something that compares answers for users."""

    def label(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """A verdict on each comparison; another `draw` asks again."""


class ModelLabeller:
    """A language model that is told who the user is."""

    def __init__(self, model: LanguageModel, guidelines: str) -> None:
        """`guidelines` are the domain's, for every user."""
        self._model = model
        self._guidelines = guidelines

    def label(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Asks in both orders."""
        requests = [
            self._request(c, order, draw) for c in comparisons for order in ((0, 1), (1, 0))
        ]
        found = ask_readable(self._model, requests, read_letter, TRIES, description)
        return [verdict_of(found[2 * k], found[2 * k + 1]) for k in range(len(comparisons))]

    def _request(self, c: Comparison, order: tuple[int, int], draw: int) -> Request:
        answers = (c.first, c.second)
        opening = "\n".join(
            line
            for line in (
                "You know what one person likes, and judge answers as that person would.",
                f"The person: {c.reader.description}",
                self._guidelines,
                c.reader.guidelines,
            )
            if line
        )
        text = (
            f"The person asked:\n{quoted(c.question)}\n\n"
            f"Answer A:\n{quoted(answers[order[0]])}\n\n"
            f"Answer B:\n{quoted(answers[order[1]])}\n\n"
            "Which answer does this person prefer? How long an answer is does not matter. "
            "Reply with the letter A or B and nothing else."
        )
        messages = (("system", opening), ("user", text))
        return Request(messages, 1, temperature=1.0, seed=draw, choices=LETTERS, purpose="labels")


def read_letter(text: str) -> str | None:
    """The letter in a judge's reply, or None if it is anything else than a letter."""
    letter = text.strip().rstrip(".):")
    return letter if letter in LETTERS else None


def verdict_of(
    asked_first: tuple[str | None, Reply], asked_second: tuple[str | None, Reply]
) -> Verdict:
    """What two replies come to: to the answers in their order, and the other way round.

    Args:
        asked_first: the letter that `read_letter` found in the reply, and the reply.
        asked_second: the same, where the second answer was shown first.
    """
    shown_first, shown_second = _first_shown(*asked_first), _first_shown(*asked_second)
    if shown_first is None or shown_second is None:
        return Verdict("malformed", 0.5)
    one, other = shown_first, 1 - shown_second
    consistent = (one - 0.5) * (other - 0.5) > 0
    lean = (shown_first + shown_second) / 2 - 0.5
    return Verdict("clear" if consistent else "inconsistent", (one + other) / 2, lean)


def _first_shown(letter: str | None, reply: Reply) -> float | None:
    """The probability of the answer that was shown first."""
    if reply.probabilities:
        return reply.probabilities[0]
    return None if letter is None else float(letter == LETTERS[0])


class MeasuredLabeller:
    """Prefers the answer whose measures are nearer to what the user wants."""

    def __init__(self, domain: Domain, margin: float, liked: float | None = None) -> None:
        """A difference in utility below `margin` is none that a user is sure about.

        With `liked`, the better answer has to be worth so much, too: not the lesser evil.
        """
        self._measures = domain.functions
        self._scales = {name: measure.scale for name, measure in domain.measures.items()}
        self._margin = margin
        self._liked = -inf if liked is None else liked

    def label(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Measures; nothing is drawn, so that every draw is the same."""
        verdicts = []
        for c in comparisons:
            wants, importance = c.reader.wants, c.reader.importance
            first, second = (self.utility(wants, t, importance) for t in (c.first, c.second))
            gap = first - second
            is_clear = abs(gap) >= max(self._margin, 1e-9) and max(first, second) >= self._liked
            sure = bool(wants) and is_clear
            verdicts.append(Verdict("clear" if sure else "unsure", 1 / (1 + exp(-gap))))
        return verdicts

    def utility(
        self, wants: Mapping[str, float], text: str, importance: Mapping[str, float]
    ) -> float:
        """How near a text is to what a user wants, on every measure; 0 at best.

        Args:
            wants: measure -> what it should measure.
            text: an answer.
            importance: measure -> how much it matters, where that is not 1.
        """
        return -sum(
            importance.get(name, 1.0)
            * abs(self._measures[name](text) - wanted)
            / self._scales[name]
            for name, wanted in wants.items()
        )
