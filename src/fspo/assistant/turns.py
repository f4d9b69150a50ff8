"""One model for several threads: who waits for an answer goes before what can wait.

A pass that predicts choices, for the pair to be shown next, takes as long as many words of an
answer. So it waits until nobody is being answered, if that comes in time. Whoever takes a turn for
a client that has gone gives up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fspo.assistant.answering import check_wanted

if TYPE_CHECKING:
    from fspo.learning.policy import Policy
    from fspo.methods.method import Floats
    from fspo.preferences.records import Preference, User

_PAUSE = 0.25  # seconds without a step of any answer, after which nobody is being answered
_PATIENCE = 30.0  # seconds that a pass lets answers go first, so that pairs are chosen under load


class Turns:
    """Lets one thread at a time work with a model."""

    def __init__(self) -> None:
        """Nobody works with it."""
        self._changed = threading.Condition()
        self._taken, self._answers, self._answered = False, 0, -_PAUSE

    @contextmanager
    def of_answer(self) -> Iterator[None]:
        """A turn that somebody waits for: after the one that is being taken."""
        with self._changed:
            self._answers += 1
            try:
                self._changed.wait_for(lambda: not self._taken)
            finally:
                self._answers -= 1
            check_wanted()
            self._taken = True
        try:
            yield
        finally:
            self._leave(time.monotonic())

    @contextmanager
    def between_answers(self) -> Iterator[None]:
        """A turn that can wait: when nobody is being answered, or after `_PATIENCE` seconds."""
        late = time.monotonic() + _PATIENCE
        with self._changed:
            while self._taken or (self._answering() and time.monotonic() < late):
                self._changed.wait(_PAUSE)
                check_wanted()
            check_wanted()
            self._taken = True
        try:
            yield
        finally:
            self._leave(self._answered)

    def _answering(self) -> bool:
        return self._answers > 0 or time.monotonic() < self._answered + _PAUSE

    def _leave(self, answered: float) -> None:
        with self._changed:
            self._taken, self._answered = False, answered
            self._changed.notify_all()


class BetweenAnswers:
    """A policy's predictions, each made while nobody is being answered."""

    name = "policy"

    def __init__(self, policy: Policy, turns: Turns) -> None:
        """Takes the policy as it is.

        Args:
            policy: what predicts.
            turns: taken for each pass.
        """
        from fspo.llm.sampling import Sampling
        from fspo.methods.fspo.method import InContext

        self._predictor, self._turns = InContext(self.name, policy, Sampling()), turns

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """As the policy's own."""
        with self._turns.between_answers():
            return self._predictor.log_odds(user, shots, targets, counts)
