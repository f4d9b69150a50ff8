"""Figures of `results.json`: win rates of the methods' answers over the base model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fspo.evaluation.groups import compare_groups, groups_of, worse_served
from fspo.evaluation.length_control import length_controlled_win_rate
from fspo.evaluation.probing import Probe
from fspo.evaluation.repetition import repetition
from fspo.evaluation.statistics import binomial_p, paired_difference, wins_of_decided
from fspo.evaluation.summaries import groups, known, summary
from fspo.judging.agreement import agreement, labeled_comparisons
from fspo.judging.measured import MeasuredJudge
from fspo.judging.verdicts import TIE, Comparison, Judge, Verdict
from fspo.methods.method import Task
from fspo.preferences.records import Preference, Preferences

Answers = Mapping[str, list[list[str]]]  # method -> for each task, its answers
Outcomes = dict[str, list[float]]  # user -> an outcome for each answer


def judge_answers(
    answers: Answers, tasks: Sequence[Task], judge: Judge
) -> dict[str, list[Verdict]]:
    """Returns for each method the verdict on each of its answers beside the base model's."""
    found = {}
    for name, written in answers.items():
        compared = [
            Comparison(task.user, prompt, answer, other)
            for task, own, base in zip(tasks, written, answers["base"], strict=True)
            for prompt, answer, other in zip(task.prompts, own, base, strict=True)
        ]
        if name == "base":  # against itself a tie by definition, whatever a judge might say
            found[name] = [TIE] * len(compared)
        else:
            found[name] = judge.judge(compared, description="Judging")
    return found


def win_rates(
    answers: Answers, judged: Mapping[str, Sequence[Verdict]], tasks: Sequence[Task], seed: int
) -> dict[str, Any]:
    """Every method against base, in percent: win rate, length-controlled win rate, by group.

    `p` is of a one-sided binomial test that it wins more often than it loses; `position_bias` is
    by how much the judge favored whichever answer came first, from -0.5 to 0.5; `repetition` is the
    mean share of an answer's runs of three words that stood in it before, in percent; `by_user`
    holds each answer's outcome, from 0 to 100.
    """
    members = groups([task.user for task in tasks])
    base = _by_user(tasks, [_words(own) for own in answers["base"]])
    compared = {}
    for name, verdicts in judged.items():
        won = by_user(tasks, [verdict.probability for verdict in verdicts])
        rates = {user: [100 * value for value in own] for user, own in won.items()}
        words = _by_user(tasks, [_words(own) for own in answers[name]])
        controlled = length_controlled_win_rate(won, words, base, np.random.default_rng(seed))
        compared[name] = summary(rates, seed, "winrate") | {
            "length_controlled": round(controlled.winrate, 2),
            "length_controlled_ci95": known((controlled.low, controlled.high), 2),
            "p": binomial_p(*wins_of_decided(v.probability for v in verdicts)),
            "malformed": sum(verdict.malformed for verdict in verdicts),
            "position_bias": round(float(np.mean([v.position_bias for v in verdicts])), 4),
            "mean_length": round(float(np.mean([n for own in words.values() for n in own])), 1),
            "repetition": round(100 * _mean_repetition(answers[name]), 1),
            "by_group": {
                group: summary({user: rates[user] for user in own}, seed, "winrate")
                for group, own in members.items()
            },
            "by_user": {user: [round(rate, 2) for rate in own] for user, own in rates.items()},
        }
    return compared


def differences(
    name: str, judged: Mapping[str, Sequence[Verdict]], tasks: Sequence[Task], seed: int
) -> dict[str, Any]:
    """Returns a method's win rate less each other one's, in points, on the same prompts."""
    won = {
        method: by_user(tasks, [100 * verdict.probability for verdict in verdicts])
        for method, verdicts in judged.items()
    }
    return {other: difference(won[name], own, seed) for other, own in won.items() if other != name}


def warnings(verdicts: Sequence[Verdict], tasks: Sequence[Task], seed: int) -> list[dict[str, Any]]:
    """Groups of users, by any attribute, whom a method serves worse than everyone else."""
    won = by_user(tasks, [100 * verdict.probability for verdict in verdicts])
    compared = compare_groups(won, groups_of([task.user for task in tasks]), seed, most=100.0)
    return [
        {
            "attribute": group.attribute,
            "value": group.value,
            "users": group.users,
            "winrate": round(group.mean, 2),
            "others": round(group.rest, 2),
            "difference_ci95": known((group.low, group.high), 2),
        }
        for group in worse_served(compared)
    ]


def agreement_with_choices(judge: Judge, probes: Sequence[Probe]) -> dict[str, Any]:
    """Returns how often a judge prefers what users chose, on the pairs that were asked about.

    Returns:
        `share`, from 0 to 1, Cohen's `kappa` or None, and `n`: how far the judge can be believed.
    """
    by_user: dict[str, dict[Preference, None]] = {}
    for probe in probes:
        by_user.setdefault(probe.user.user_id, {}).update(dict.fromkeys(probe.targets))
    asked = Preferences(
        {user: list(own) for user, own in by_user.items()}, [probe.user for probe in probes]
    )
    comparisons, labels = labeled_comparisons(asked)
    verdicts = judge.judge(comparisons, description="Judging")
    found = agreement([verdict.probability for verdict in verdicts], labels)
    kappa = round(found.kappa, 4) if np.isfinite(found.kappa) else None
    return {"share": round(found.share, 4), "kappa": kappa, "n": found.n}


def example(tasks: Sequence[Task], answers: Answers, judge: Judge) -> dict[str, Any]:
    """One held-out user's shots, and what each method answered: the first user, not the best."""
    task = tasks[0]

    def looked_at(text: str) -> dict[str, Any]:
        facts = judge.facts(task.user, text) if isinstance(judge, MeasuredJudge) else {}
        return {"text": text, "words": len(text.split())} | facts

    return {
        "user_id": task.user.user_id,
        "description": task.user.description,
        "shots": [
            {"prompt": s.prompt, "chosen": s.chosen, "rejected": s.rejected} for s in task.shots
        ],
        "prompts": [
            {
                "prompt": prompt,
                "answers": {name: looked_at(own[0][number]) for name, own in answers.items()},
            }
            for number, prompt in enumerate(task.prompts[:3])
        ],
    }


def by_user(tasks: Sequence[Task], values: Sequence[float]) -> Outcomes:
    """Returns what was found of all answers in a row, by the user whom each was for."""
    rest = iter(values)
    return _by_user(tasks, [[next(rest) for _ in task.prompts] for task in tasks])


def _by_user(tasks: Sequence[Task], values: Sequence[Sequence[float]]) -> Outcomes:
    return {task.user.user_id: list(own) for task, own in zip(tasks, values, strict=True)}


def _words(texts: Sequence[str]) -> list[float]:
    return [float(len(text.split())) for text in texts]


def _mean_repetition(answers: Sequence[Sequence[str]]) -> float:
    return float(np.mean([repetition(text) for own in answers for text in own]))


def difference(one: Outcomes, other: Outcomes, seed: int) -> dict[str, Any]:
    """Returns by how many points one method's outcomes are above another's on the same prompts."""
    found = paired_difference(one, other, np.random.default_rng(seed), most=100.0)
    return {"difference": round(found.mean, 2), "ci95": known((found.low, found.high), 2)}
