"""Embedded texts, samples to fit on and a logistic fit, for predictors of preferences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fspo.llm.embedding import Embedder, Vectors
from fspo.preferences.records import Preference, Preferences

Floats = NDArray[np.float64]


class CachedEmbedder:
    """An embedder that embeds each text once, however often it is asked for."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, Vectors] = {}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Float32 of shape (texts, width), as the embedder that this one remembers for."""
        new = sorted(set(texts) - self._rows.keys())
        if new or not texts:
            found = self._embedder(new)
            self._rows.update(zip(new, found, strict=True))
        return np.stack([self._rows[text] for text in texts]) if texts else found


def cached(embedder: Embedder) -> CachedEmbedder:
    """`embedder` itself where it remembers already, so that several predictors can share one."""
    return embedder if isinstance(embedder, CachedEmbedder) else CachedEmbedder(embedder)


@dataclass(frozen=True)
class Sample:
    """Some of a user's choices to see, and others of the same user to predict."""

    user_id: str
    shots: Sequence[Preference]
    targets: Sequence[Preference]


def draw_samples(
    preferences: Preferences,
    generator: np.random.Generator,
    most_shots: int = 16,
    most_targets: int = 8,
    most_users: int | None = None,
) -> list[Sample]:
    """One sample of each user, with a number of shots drawn evenly from 0 to `most_shots`.

    A user with fewer preferences gives fewer shots, and always at least one target. As in FSPO's
    episodes, targets are on prompts that no shot is about, where the user has any.

    Args:
        preferences: whose users to draw from.
        generator: decides the users, the number of shots, and which preferences are which.
        most_shots: the highest number of shots.
        most_targets: the highest number of targets.
        most_users: how many users to draw at most, without replacement; None for all.
    """
    users = [user for user, rows in preferences.by_user.items() if rows]
    samples = []
    for place in generator.permutation(len(users))[:most_users]:
        rows = preferences.by_user[users[place]]
        order = [rows[index] for index in generator.permutation(len(rows))]
        number = int(generator.integers(min(most_shots, len(rows) - 1) + 1))
        shots, rest = order[:number], order[number:]
        prompts = {p.plain[0] for p in shots}
        targets = [p for p in rest if p.plain[0] not in prompts] or rest
        samples.append(Sample(users[place], shots, targets[:most_targets]))
    return samples


def hold_out(
    preferences: Preferences, generator: np.random.Generator, most_shots: int = 16
) -> tuple[Preferences, list[Sample]]:
    """Keeps a tenth of the users apart, and of the prompts where there are ten or more.

    Returns:
        The other users' preferences on the other prompts, and samples of the users apart whose
        targets are on the prompts apart; all preferences and no sample if users are fewer than ten.
    """
    users = [user for user, rows in preferences.by_user.items() if rows]
    spelled: dict[str, str] = {}
    for _, p in preferences:
        spelled[p.plain[0]] = min(p.prompt, spelled.get(p.plain[0], p.prompt))
    prompts = sorted(spelled, key=lambda plain: spelled[plain])
    apart = {users[place] for place in generator.permutation(len(users))[: len(users) // 10]}
    new = {prompts[place] for place in generator.permutation(len(prompts))[: len(prompts) // 10]}
    known = {u: [p for p in preferences.by_user[u] if p.plain[0] not in new] for u in users}
    training = Preferences({u: rows for u, rows in known.items() if rows and u not in apart})
    own = Preferences({u: preferences.by_user[u] for u in users if u in apart})
    if not apart or not training.by_user:
        return preferences, []
    if not new:
        return training, draw_samples(own, generator, most_shots)
    samples = []
    for user, rows in own.by_user.items():
        targets = [p for p in rows if p.plain[0] in new]
        number = int(generator.integers(min(most_shots, len(known[user])) + 1))
        shots = [known[user][i] for i in generator.permutation(len(known[user]))[:number]]
        if targets:
            samples.append(Sample(user, shots, targets))
    return training, samples


def responses(preferences: Iterable[Preference]) -> list[str]:
    """Every response, once, in alphabetical order."""
    return sorted({text for p in preferences for text in (p.chosen, p.rejected)})
