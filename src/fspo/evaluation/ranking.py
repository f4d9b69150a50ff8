"""Ranks candidate answers by a user's reward: the reward model as a tool of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fspo.errors import FspoError
from fspo.evaluation.mirroring import mirrored, turned_round
from fspo.methods.method import Predictor
from fspo.methods.untrained.best_of import score_of
from fspo.preferences.records import Preferences
from fspo.preferences.tables import check_whole


def rank(
    method: Predictor,
    preferences: Preferences,
    prompt: str,
    answers: Sequence[str],
    user_id: str | None = None,
    shots: int = 8,
    mirror: bool = False,
) -> list[dict[str, Any]]:
    """Ranks answers to a prompt as the user would, given the user's preferences as shots.

    Args:
        method: tells what users prefer, such as a policy that `fspo train` wrote.
        preferences: the user's, among others perhaps.
        prompt: what was asked.
        answers: two or more candidates.
        user_id: whose preferences; may be left out where there is one user.
        shots: how many of the user's preferences are read, the last ones.
        mirror: also ask with every shot turned round (`mirroring.py`).

    Returns:
        Best first: `{"rank", "answer", "index", "reward", "probability"}`. The reward is the
        method's own (a policy's implicit one, VPL's) or else its log-odds over the first candidate,
        in nats; only differences mean something. The probability that this is the user's favorite
        is its softmax over the candidates (Bradley-Terry, Plackett-Luce); with the IPO objective
        it is not calibrated.

    Raises:
        FspoError: if the user is not clear, there are fewer than two answers, a text holds bytes
            that are no UTF-8, or a reward is not finite.
    """
    if len(answers) < 2:
        raise FspoError("--answer: ranking takes at least two candidate answers")
    check_whole(prompt, "--prompt:")
    for number, answer in enumerate(answers, 1):
        check_whole(answer, f"--answer: candidate {number}")
        if not answer.strip():
            raise FspoError(f"--answer: candidate {number} is empty")
    name = _one_user(preferences, user_id)
    rows = preferences.by_user[name]
    examples = rows[max(0, len(rows) - shots) :]
    score, user = score_of(method), preferences.users[name]
    rewards = np.array(score(user, examples, prompt, answers))
    if mirror:
        everybody, opposite = (
            np.array(score(user, shown, prompt, answers)) for shown in ([], turned_round(examples))
        )
        rewards = mirrored(everybody, rewards, opposite)
    weights = np.exp(rewards - rewards.max())
    probabilities = weights / weights.sum()
    return [
        {
            "rank": place,
            "answer": answers[index],
            "index": int(index),
            "reward": round(float(rewards[index]), 4),
            "probability": round(float(probabilities[index]), 4),
        }
        for place, index in enumerate(np.argsort(-rewards, kind="stable"), 1)
    ]


def _one_user(preferences: Preferences, user_id: str | None) -> str:
    users = sorted(preferences.by_user)
    if user_id is None and len(users) == 1:
        return users[0]
    if user_id in preferences.by_user:
        return str(user_id)
    some = ", ".join(users[:5]) + (", ..." if len(users) > 5 else "")
    asked = "say which with --user" if user_id is None else f"there is no user {user_id!r}"
    raise FspoError(f"{preferences.source}: {asked}; it holds {len(users)} users: {some}")
