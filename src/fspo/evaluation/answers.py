"""The answers of methods to tasks, each asked for once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fspo.console import track
from fspo.evaluation.answer_cache import AnswerCache, cache_key
from fspo.methods.method import Method, Task


def answer_tasks(
    method: Method, tasks: Sequence[Task], kept: AnswerCache, seed: int
) -> list[list[str]]:
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


def _seed_of(*parts: object) -> int:
    """A seed for each part of the work, so that none depends on what was done before it."""
    return int(cache_key(*parts)[:8], 16)
