"""Evaluates a policy on held-out users, and writes `results.json`.

Each held-out user gets episodes of preferences for accuracy, and one task: the shots of the first
episode, and prompts that are not among them. The judge is a domain's measure of what an answer is
worth to the user.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.console import say
from fspo.errors import FspoError
from fspo.evaluation.accuracy import Hits, preference_hits
from fspo.evaluation.statistics import bootstrap_ci
from fspo.evaluation.winrate import outcome, write_answers
from fspo.files import write_json
from fspo.methods.answering import Base, InContext, Method, Oracle, Task
from fspo.preferences.records import Episode, Preferences, User

if TYPE_CHECKING:
    from fspo.domains import Domain
    from fspo.learning.policy import Policy
    from fspo.recipe import EvaluateRecipe


def evaluate(
    data: str | Path, policy_folder: str | Path, out: Path, recipe: EvaluateRecipe, seed: int = 0
) -> dict[str, Any]:
    """Measures preference accuracy by shots, and each method's win rate over the base model.

    Args:
        data: a preference dataset with users split.
        policy_folder: what `fspo train` wrote.
        out: folder for `results.json` and the answers.
        recipe: what is measured.
        seed: of the episodes drawn, the answers sampled and the bootstrap.

    Returns:
        What is in `results.json`.

    Raises:
        FspoError: if there are no such users, or they have too few preferences.
    """
    from fspo.domains import load_domain
    from fspo.learning.episodes import training_preferences
    from fspo.learning.policy import load_policy
    from fspo.preferences.reading import load_preferences

    started = time.monotonic()
    domain = load_domain(recipe.judge)
    every = load_preferences(data)
    held_out = training_preferences(every, recipe.split)
    policy = load_policy(policy_folder)
    users = _users(held_out, recipe)
    # The same draw for everybody: users who were asked about the same titles get the same ones, so
    # that of two who dispute a pair, neither is easier to guess without a shot.
    episodes = {
        user: [
            held_out.episode(user, recipe.shots, seed=[seed, number])
            for number in range(recipe.episodes_per_user)
        ]
        for user in users
    }
    hits = preference_hits(policy, episodes)
    tasks = [_task(held_out, episodes[user][0], recipe, seed) for user in users]
    answers = {
        method.name: write_answers(method, tasks, out / "answers", seed)
        for method in _methods(policy, recipe)
    }
    results = {
        "judge": f"measured: {recipe.judge}",
        "methods": _compare(answers, tasks, domain, seed),
        "preference_accuracy": _accuracy(hits, held_out, seed),
        "users": {"train": _count(every, "train"), "test": len(users)},
        "prompts": {
            "train": _count_prompts(every, "train"),
            "test": _count_prompts(every, recipe.split),
        },
        "shots": recipe.shots,
        "preferences": len(every),
        "model": policy.settings["model"],
        "policy": policy.settings,
        "evaluation": recipe.model_dump(),
        "seed": seed,
        "versions": versions(),
        "seconds": round(time.monotonic() - started, 1),
        "example": _example(tasks, answers, domain),
    }
    write_json(out / "results.json", results)
    return results


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    import platform
    from importlib.metadata import version

    packages = ("fspo", "torch", "transformers", "peft", "vaderSentiment")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _users(held_out: Preferences, recipe: EvaluateRecipe) -> list[str]:
    """Users with enough preferences for the shots, one target and one prompt more."""
    needed = recipe.shots + 2
    enough = [u for u, rows in held_out.by_user.items() if len({p.prompt for p in rows}) >= needed]
    left_out = len(held_out.by_user) - len(enough)
    if left_out:
        say(f"{left_out} users have preferences on fewer than {needed} prompts and are left out")
    if len(enough) < 2:
        raise FspoError(
            f"{held_out.source or 'preferences'}: {len(enough)} held-out users have preferences on "
            f"{needed} different prompts, which {recipe.shots} shots take; at least 2 users are "
            "needed. Ask for fewer shots."
        )
    return enough[: recipe.users]


def _task(held_out: Preferences, episode: Episode, recipe: EvaluateRecipe, seed: int) -> Task:
    shots = episode.preferences[: recipe.shots]
    seen = {shot.prompt for shot in shots}
    others = sorted({prompt for _, p in held_out if (prompt := p.prompt) not in seen})
    user = held_out.users[episode.user_id]
    place = sorted(held_out.by_user).index(episode.user_id)
    order = np.random.default_rng([seed, place]).permutation(len(others))
    return Task(user, shots, [others[i] for i in order[: recipe.prompts_per_user]])


def _methods(policy: Policy, recipe: EvaluateRecipe) -> list[Method]:
    from fspo.llm.local import LocalModel
    from fspo.models import load_model

    llm = LocalModel(*load_model(policy.settings["model"]))
    return [
        Base(llm, recipe),
        InContext("few-shot prompted", policy, trained=False, settings=recipe),
        InContext("FSPO", policy, trained=True, settings=recipe),
        Oracle(llm, recipe),
    ]


def _compare(
    answers: Mapping[str, list[list[str]]],
    tasks: Sequence[Task],
    domain: Domain,
    seed: int,
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
        compared[name] = _summary(outcomes, seed, "winrate") | {
            "mean_length": round(float(np.mean(words)), 1),
            "by_group": {
                group: _summary({u: outcomes[u] for u in members}, seed, "winrate")
                for group, members in _groups([task.user for task in tasks]).items()
            },
        }
    return compared


def _accuracy(hits: Hits, held_out: Preferences, seed: int) -> dict[str, Any]:
    summaries = {str(shots): _summary(by_user, seed, "mean") for shots, by_user in hits.items()}
    users = [held_out.users[user] for user in hits[0]]
    return {
        "by_shots": {shots: summary["mean"] for shots, summary in summaries.items()},
        "ci95": {shots: summary["ci95"] for shots, summary in summaries.items()},
        "n": summaries["0"]["n"],
        "by_group": {
            group: {
                str(shots): _summary({u: by_user[u] for u in members}, seed, "mean")["mean"]
                for shots, by_user in hits.items()
            }
            for group, members in _groups(users).items()
        },
    }


def _summary(values: Mapping[str, Sequence[float]], seed: int, name: str) -> dict[str, Any]:
    low, high = bootstrap_ci(values, np.random.default_rng(seed))
    flat = [value for own in values.values() for value in own]
    digits = 4 if name == "mean" else 2
    known = bool(np.isfinite(low) and np.isfinite(high))  # not with a single user
    return {
        name: round(float(np.mean(flat)), digits),
        "ci95": [round(low, digits), round(high, digits)] if known else None,
        "n": len(flat),
    }


def _groups(users: Sequence[User]) -> dict[str, list[str]]:
    """Users by the kind that their attributes name, if they name one."""
    groups: dict[str, list[str]] = {}
    for user in users:
        if kind := user.attributes.get("kind"):
            groups.setdefault(str(kind), []).append(user.user_id)
    return dict(sorted(groups.items()))


def _count(preferences: Preferences, split: str) -> int:
    return sum(user.split == split for user in preferences.users.values())


def _count_prompts(preferences: Preferences, split: str) -> int:
    return len({p.prompt for _, p in preferences.of(split)})


def _example(
    tasks: Sequence[Task],
    answers: Mapping[str, list[list[str]]],
    domain: Domain,
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
