"""Preference accuracy: how often a policy ranks a held-out pair as the user did, by shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fspo.console import track
from fspo.learning.tree import EpisodeTree
from fspo.preferences.records import Episode

if TYPE_CHECKING:
    from fspo.learning.policy import Policy

# For each number of shots, for each user: 1 where the chosen response was ranked first, 0 where
# the rejected one was, a half where they came out equal.
Hits = dict[int, dict[str, list[float]]]


def preference_hits(policy: Policy, episodes: Mapping[str, Sequence[Episode]]) -> Hits:
    """Asks, for every target of every episode, whether the policy prefers what the user chose.

    A response's score is its implicit reward, so what the reference likes anyway cancels out.

    Args:
        policy: a trained policy.
        episodes: for each user, episodes of the same length N + 1.

    Returns:
        Hits at 0 to N shots.
    """
    hits: Hits = {}
    jobs = [(user, episode) for user, own in episodes.items() for episode in own]
    for user, episode in track(jobs, "preference accuracy", len(jobs)):
        for shots, gap in _gaps(policy, episode):
            hit = 0.5 if gap == 0 else float(gap > 0)
            hits.setdefault(shots, {}).setdefault(user, []).append(hit)
    return hits


def _gaps(policy: Policy, episode: Episode) -> list[tuple[int, float]]:
    """For each number of shots, by how much the chosen response's reward is the higher, in nats."""
    if policy.template == "chain":
        return _chain_gaps(policy, episode)
    # The paper's layout prices one target at a time: the k-th preference after k shots.
    gaps = []
    for shots in range(len(episode.preferences)):
        part = replace(episode, preferences=episode.preferences[: shots + 1])
        tree = EpisodeTree.from_episode(part, policy.tokenizer, policy.template)
        (margins,) = policy.margins([tree])
        gaps.append((shots, float(margins[0] - margins[1])))
    return gaps


def _chain_gaps(policy: Policy, episode: Episode) -> list[tuple[int, float]]:
    tree = EpisodeTree.from_episode(episode, policy.tokenizer, policy.template)
    (margins,) = policy.margins([tree])
    return list(enumerate((margins[0::2] - margins[1::2]).tolist()))
