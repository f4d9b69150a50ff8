"""What was measured, as the figures of `results.json`: means, intervals, groups, one example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.evaluation.probing import Gaps, Probe, hits
from fspo.evaluation.statistics import bootstrap_ci
from fspo.evaluation.winrate import outcome
from fspo.methods.method import Task
from fspo.preferences.records import User

if TYPE_CHECKING:
    from fspo.domains import Domain

Values = Mapping[str, Sequence[float]]  # each user's


def accuracy(
    probes: Sequence[Probe], gaps: Sequence[Gaps], counts: Sequence[int], seed: int
) -> dict[str, Any]:
    """How often a method is for what the user chose, by number of shots.

    `gain` is by how much more often than without shots, on the same pairs.
    """
    by_count = [_by_user(probes, [hits(own)[row] for own in gaps]) for row in range(len(counts))]
    summaries = [summary(values, seed, "mean") for values in by_count]
    gains = {
        str(count): summary(
            _by_user(probes, [hits(g)[row] - hits(g)[0] for g in gaps]), seed, "mean"
        )
        for row, count in enumerate(counts)
        if counts[0] == 0 and count
    }
    members = groups([probe.user for probe in probes])
    return {
        "by_shots": {str(k): s["mean"] for k, s in zip(counts, summaries, strict=True)},
        "ci95": {str(k): s["ci95"] for k, s in zip(counts, summaries, strict=True)},
        "n": summaries[0]["n"],
        "gain": {count: {k: found[k] for k in ("mean", "ci95")} for count, found in gains.items()},
        "by_group": {
            group: {
                str(count): summary({u: values[u] for u in own}, seed, "mean")["mean"]
                for count, values in zip(counts, by_count, strict=True)
            }
            for group, own in members.items()
        },
    }


def _by_user(probes: Sequence[Probe], values: Sequence[Gaps]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for probe, own in zip(probes, values, strict=True):
        found.setdefault(probe.user.user_id, []).extend(own.tolist())
    return found


def win_rates(
    answers: Mapping[str, list[list[str]]], tasks: Sequence[Task], domain: Domain, seed: int
) -> dict[str, Any]:
    """Every method against base: win rate in percent, its interval, and the mean length."""
    compared = {}
    for name, written in answers.items():
        outcomes = {
            task.user.user_id: [
                100 * outcome(domain.utility, task.user, answer, other)
                for answer, other in zip(own, base, strict=True)
            ]
            for task, own, base in zip(tasks, written, answers["base"], strict=True)
        }
        words = [len(text.split()) for own in written for text in own]
        compared[name] = summary(outcomes, seed, "winrate") | {
            "mean_length": round(float(np.mean(words)), 1),
            "by_group": {
                group: summary({u: outcomes[u] for u in members}, seed, "winrate")
                for group, members in groups([task.user for task in tasks]).items()
            },
        }
    return compared


def summary(values: Values, seed: int, name: str) -> dict[str, Any]:
    """The mean of all values, with its interval over users and their number."""
    low, high = bootstrap_ci(values, np.random.default_rng(seed))
    flat = [value for own in values.values() for value in own]
    digits = 4 if name == "mean" else 2
    known = bool(np.isfinite(low) and np.isfinite(high))  # not with a single user
    return {
        name: round(float(np.mean(flat)), digits),
        "ci95": [round(low, digits), round(high, digits)] if known else None,
        "n": len(flat),
    }


def groups(users: Sequence[User]) -> dict[str, list[str]]:
    """Users by the kind that their attributes name, if they name one."""
    found: dict[str, dict[str, None]] = {}
    for user in users:
        if kind := user.attributes.get("kind"):
            found.setdefault(str(kind), {})[user.user_id] = None
    return {group: list(members) for group, members in sorted(found.items())}


def example(
    tasks: Sequence[Task], answers: Mapping[str, list[list[str]]], domain: Domain
) -> dict[str, Any]:
    """One held-out user's shots, and what each method answered: the first user, not the best."""
    task = tasks[0]
    prompts = []
    for number, prompt in enumerate(task.prompts[:3]):
        written = {name: own[0][number] for name, own in answers.items()}
        prompts.append(
            {
                "prompt": prompt,
                "answers": {
                    name: {
                        "text": text,
                        **domain.measure(text),
                        "utility": domain.utility(task.user.attributes, text),
                    }
                    for name, text in written.items()
                },
            }
        )
    shots = [{"prompt": s.prompt, "chosen": s.chosen, "rejected": s.rejected} for s in task.shots]
    return {
        "user_id": task.user.user_id,
        "description": task.user.description,
        "shots": shots,
        "prompts": prompts,
    }
