"""Win rate: how often a user would like a method's answer better than the base model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fspo.console import track
from fspo.evaluation.keeping import Kept, mark
from fspo.methods.method import Method, Task
from fspo.preferences.records import User

# What an answer is worth to a user: attributes and text to a number.
Utility = Callable[[Mapping[str, Any], str], float]

# Two answers whose worth differs by less than this are a tie.
TIE = 0.05


def write_answers(method: Method, tasks: Sequence[Task], kept: Kept, seed: int) -> list[list[str]]:
    """Lets a method answer every task: for each task, its answers in the order of the prompts.

    Args:
        method: how to answer.
        tasks: what is asked; as many as the method takes are answered at once.
        kept: answers that are there already, and where new ones go.
        seed: of the sampling, with the method's name and a part's place.
    """
    size = method.tasks_at_once
    parts = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    answers: list[list[str]] = []
    for number, part in enumerate(track(parts, f"answers: {method.name}", len(parts))):
        own = _seed_of(seed, method.name, number)
        answers += kept.get((own, part), partial(method.answer, part, own))
    return answers


def outcome(utility: Utility, user: User, answer: str, other: str) -> float:
    """1 if the user would like `answer` better than `other`, 0 if less, 0.5 for a tie."""
    gap = utility(user.attributes, answer) - utility(user.attributes, other)
    if abs(gap) < TIE:
        return 0.5
    return float(gap > 0)


def _seed_of(*parts: object) -> int:
    """A seed for each part of the work, so that none depends on what was done before it."""
    return int(mark(*parts)[:8], 16)
