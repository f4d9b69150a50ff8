"""When refusals are of single requests, and when it is the server that refuses everything."""

from __future__ import annotations

from fspo.llm.faults import Fault

FIRST = 20  # requests, as long as nothing was answered: if all of them are refused, it is enough
FEW = 5  # of them at most may be all that there is
IN_A_ROW = 100  # refusals: a filter may stop all that is asked about one user or question
ENOUGH = 40  # requests, of which more than half may not be refused


class Refusals:
    """The outcomes of the requests to one server.

    Attributes:
        answered: how many were.
        refused: how many were not.
        unsure: how many of these, since the last answer, for a reason that may be the server's.
        last: the last one.
    """

    def __init__(self) -> None:
        self.answered = self.refused = self.unsure = 0
        self._in_a_row = 0
        self.last = Fault(0, "nothing")

    def answer(self) -> None:
        """Counts an answer."""
        self.answered += 1
        self.unsure = self._in_a_row = 0

    def refuse(self, fault: Fault, sure: bool) -> None:
        """Counts a refusal; `sure` if it is surely for what the request says."""
        self.last = fault
        self.refused += 1
        self.unsure += not sure
        self._in_a_row += 1

    @property
    def are_too_many(self) -> bool:
        """Returns whether a run has to stop: the first requests were refused, or a large share."""
        if not self.answered and self._in_a_row >= FIRST:
            return True
        asked = self.answered + self.refused
        return self._in_a_row >= IN_A_ROW or (asked >= ENOUGH and 2 * self.refused > asked)

    @property
    def are_all(self) -> bool:
        """Returns whether nothing was answered that should have been, now that all was asked."""
        return not self.answered and (self.unsure > 0 or self.refused >= FEW)
