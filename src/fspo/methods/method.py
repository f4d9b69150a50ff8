"""The interface of a method: one way to answer a user, or to tell what the user prefers.

A method answers tasks: a user, that user's shots, and prompts. Which of these it looks at is what
makes it the method it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fspo.preferences.records import Preference, User

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Prompts to answer on behalf of one user, whose shots were seen before.

    Attributes:
        user: who it is; all but an oracle look at nothing of it.
        shots: the user's, in order.
        prompts: what is asked.
        description: of the user, written or edited by a person, for methods that write one (RAT).
    """

    user: User
    shots: Sequence[Preference]
    prompts: Sequence[str]
    description: str = ""


class Predictor(Protocol):
    """One way to tell what users prefer.

    Attributes:
        name: what reports call it.
    """

    name: str

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Returns how sure it is that the user prefers what the user did choose.

        Args:
            user: whose preferences; all but an oracle look at nothing of it.
            shots: in order.
            targets: pairs of the same user.
            counts: numbers of shots, rising, none above `len(shots)`.

        Returns:
            Float64 (counts, targets): the log-odds, in nats, that the user prefers `chosen` to
            `rejected`, having seen so many of the shots. The logistic function of it is the
            probability; exchanging the two responses changes nothing but the sign.
        """


class Method(Predictor, Protocol):
    """One way to answer users.

    Attributes:
        tasks_at_once: how many tasks it answers best in one call.
    """

    tasks_at_once: int

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Writes, for each task, one answer to each prompt."""


@runtime_checkable
class Describer(Method, Protocol):
    """A method that describes users, and answers behind the descriptions."""

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Each task's own description, or else what it writes of the user; "" without shots."""

    def describe_before(self, tasks: Sequence[Task]) -> list[str] | None:
        """The same by its reference; None where that never learned to."""
