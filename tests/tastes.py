"""Users of known taste: two groups that want opposite things, and an embedder that sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo.preferences.records import Preference, Preferences, User

NOBODY = User("somebody new")
_THINGS = ("tea", "soup", "bread", "rain", "jazz", "chess", "maps", "owls", "kites", "ferns")


def opposite_tastes(users: int, rows: int, seed: int, split: str = "seen") -> Preferences:
    """Even users want every answer cold, odd ones want it hot; `split` names the texts."""
    generator = np.random.default_rng(seed)
    by_user = {}
    for user in range(users):
        liked, other = ("cold", "hot") if user % 2 == 0 else ("hot", "cold")
        pairs = generator.integers(len(_THINGS), size=(rows, 2))
        by_user[f"user {user}"] = [
            Preference("?", f"{liked} {_THINGS[a]} {split}", f"{other} {_THINGS[b]} {split}")
            for a, b in pairs
        ]
    return Preferences(by_user, source="made up")


def cold_or_hot(texts: Sequence[str]) -> np.ndarray:
    """Vectors of length 1: a fifth of each is cold or hot, and the rest depends on the text."""
    rows = np.zeros((len(texts), 16), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[:] = np.random.default_rng(list(text.encode())).standard_normal(16) / 4
        row[0] = ("cold" in text) - ("hot" in text)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def accuracy(predictor, preferences: Preferences, shots: int) -> float:
    """The share of right answers on each user's rows after the first `shots`; ties are half."""
    found = np.concatenate(
        [
            predictor.log_odds(rows[:shots], rows[shots:], NOBODY)
            for rows in preferences.by_user.values()
        ]
    )
    return float(((found > 0) + 0.5 * (found == 0)).mean())


def swapped(preferences: Sequence[Preference]) -> list[Preference]:
    return [p.reversed() for p in preferences]
