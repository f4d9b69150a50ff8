"""Couples: of four users, which two are asked about the same pair because they disagree over it.

Where every pair has two users who are sure of opposite things, no answer is better than another
before a user is known: what can be learned is how to tell users apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# The ways to make two couples of four users.
_COUPLES = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


def couple(
    disputed: Callable[[int, int], Sequence[T]], generator: np.random.Generator
) -> list[tuple[int, int, T]]:
    """Makes two couples of four users, each with something that the two disagree over.

    Args:
        disputed: what two of the four, by their places, disagree over.
        generator: draws the couples, and what each is asked about.

    Returns:
        (one, other, what they disagree over) of both couples; nothing if there is no way for both.
    """
    for way in generator.permutation(len(_COUPLES)):
        found = [(one, other, disputed(one, other)) for one, other in _COUPLES[way]]
        if all(pairs for _, _, pairs in found):
            drawn = [pairs[int(generator.integers(len(pairs)))] for *_, pairs in found]
            return [(*two, pair) for two, pair in zip(_COUPLES[way], drawn, strict=True)]
    return []
