"""Checks a dataset before it is trusted: diversity, consistency, bias, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fspo.judging.verdicts import Verdict
from fspo.llm.embedding import Embedder, similarities
from fspo.synthesis.answers import Answer

SHOWN = 40  # users in the disagreement matrix of checks.json

Matrix = NDArray[np.float64]


def similarity(answers: Mapping[str, Sequence[Answer]], embedder: Embedder) -> dict[str, Any]:
    """Pairwise cosine similarity of the answers to each question, averaged over questions."""
    by_question = []
    for own in answers.values():
        if len(own) > 1:
            by_question.append(similarities(embedder([answer.text for answer in own])))
    if not by_question:
        return {"mean": None, "median": None, "questions": 0}
    return {
        "mean": round(float(np.mean([values.mean() for values in by_question])), 4),
        "median": round(float(np.median(np.concatenate(by_question))), 4),
        "questions": len(by_question),
    }


def disagreement(probabilities: Matrix) -> Matrix:
    """Returns how often each two users prefer differently.

    Args:
        probabilities: of shape (users, pairs): that the first answer is preferred.

    Returns:
        A matrix of shape (users, users): the share of the pairs; 0 on the diagonal.
    """
    first = (probabilities > 0.5).astype(np.float64)
    differs = first @ (1 - first).T
    return np.asarray((differs + differs.T) / probabilities.shape[1])


def mean_disagreement(matrix: Matrix) -> NDArray[np.float64]:
    """Of each user with all others."""
    return np.asarray(matrix.sum(axis=1) / max(1, len(matrix) - 1))


def outside(matrix: Matrix, bounds: tuple[float, float]) -> list[int]:
    """The users who disagree with the others less or more than the bounds, on average."""
    if len(matrix) < 2:
        return []
    means = mean_disagreement(matrix)
    return [int(n) for n in np.flatnonzero((means < bounds[0]) | (means > bounds[1]))]


def summary_of(matrix: Matrix, bounds: tuple[float, float], remade: int) -> dict[str, Any]:
    """The matrix in figures, and its first users."""
    means = mean_disagreement(matrix)
    return {
        "mean": round(float(means.mean()), 4),
        "least": round(float(means.min()), 4),
        "most": round(float(means.max()), 4),
        "bounds": list(bounds),
        "users_outside": len(outside(matrix, bounds)),
        "users_remade": remade,
        "matrix": np.round(matrix[:SHOWN, :SHOWN], 3).tolist(),
    }


def leaks(splits: Mapping[str, Sequence[str]], embedder: Embedder, alike: float) -> dict[str, Any]:
    """Returns how near held-out texts come to the nearest training text.

    Args:
        splits: the texts of each split.
        embedder: tells what is alike.
        alike: two texts of a higher cosine similarity are nearly the same.
    """
    train = embedder(splits["train"])
    held_out = embedder([text for split, own in splits.items() if split != "train" for text in own])
    nearest = (held_out @ train.T).max(axis=1)
    return {
        "nearly_the_same": int((nearest > alike).sum()),
        "highest_similarity": round(float(nearest.max()), 4),
        "mean_nearest": round(float(nearest.mean()), 4),
    }


@dataclass
class Tally:
    """Counts labels as they come."""

    outcomes: Counter[str] = field(default_factory=Counter)
    position_bias: float = 0.0  # a sum over the pairs that were asked about in both orders
    absolute_bias: float = 0.0
    in_both_orders: int = 0
    first_chosen: int = 0
    longer_chosen: float = 0.0

    def add(self, verdict: Verdict, first: str, second: str) -> None:
        """Counts a verdict on two answers."""
        self.outcomes[verdict.outcome] += 1
        if verdict.outcome in ("clear", "inconsistent"):
            self.in_both_orders += 1
            self.position_bias += verdict.position_bias
            self.absolute_bias += abs(verdict.position_bias)
        if verdict.outcome == "clear":
            is_first = verdict.probability > 0.5
            longer = len(first.split()) - len(second.split())
            self.first_chosen += is_first
            self.longer_chosen += 0.5 if not longer else float((longer > 0) == is_first)

    def figures(self) -> dict[str, Any]:
        """Returns what was counted, as shares of the pairs."""
        clear, asked = max(1, self.outcomes["clear"]), max(1, self.in_both_orders)
        names = ("clear", "inconsistent", "unsure", "malformed")
        return {
            "labels": {name: self.outcomes[name] for name in names},
            "position_bias": {
                "mean": round(self.position_bias / asked, 4),
                "mean_absolute": round(self.absolute_bias / asked, 4),
            },
            "length": {"longer_chosen": round(self.longer_chosen / clear, 4)},
            "balance": {"first_chosen": round(self.first_chosen / clear, 4)},
        }
