"""The result: win rates with intervals, tests, groups, consistency; exclusions are stated first.

The tests are the paper's: one-sided, exact, with every answer counted for itself. One person's
answers resemble each other, so the interval, which is over people, is the one to believe; a sign
test over people stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fspo.evaluation.groups import compare_groups, groups_of
from fspo.evaluation.statistics import (
    INTERVALS,
    binomial_p,
    mean_by_user,
    user_ci,
    win_rate,
    wins_of_decided,
)
from fspo.preferences.records import User
from fspo.study.definition import Study
from fspo.study.records import ItemRecord, PersonRecord, Records

Outcomes = dict[str, list[float]]  # of each participant: 1 where ours was chosen, else 0


class Consistency(NamedTuple):
    """The resemblance of one person's answers to each other.

    Attributes:
        icc: the intraclass correlation of single answers; 0 where people do not differ.
        reliability: of a person's mean over all answers (as Cronbach's alpha).
    """

    icc: float
    reliability: float


def analyze(study: Study, records: Records, seed: int = 0) -> dict[str, Any]:
    """The whole result, as it is written to JSON.

    Args:
        study: the exclusion rules and comparisons.
        records: what was gathered.
        seed: of the bootstrap.
    """
    items, kept, left_out = records.items_of(), [], {"unfinished": 0, "failed_checks": 0}
    for person in records.people:
        reason = _reason_to_leave_out(study, person, items[person.number])
        if reason:
            left_out[reason] += 1
        else:
            kept.append(person)
    judged = [i for p in kept for i in items[p.number] if i.stage == "judge" and i.choice]
    judged = [item for item in judged if not item.is_check]
    counted = [item for item in judged if not _late(study, item)]
    users = [User(name_of(p.number), attributes=attributes(study, p)) for p in kept]
    return {
        "study": study.name,
        "exclusion_rules": study.exclusion_rules(),
        "participants": {"begun": len(records.people), "analyzed": len(kept), "left_out": left_out},
        "withdrew": records.events.get("withdrew", 0),
        "answers": {"judged": len(judged), "late_left_out": len(judged) - len(counted)},
        "intervals": INTERVALS,
        "left_chosen": _share([item.choice == "left" for item in counted]),
        "comparisons": [
            _comparison(one, other, _outcomes(counted, one, other), users, seed)
            for one, other in study.comparisons
        ],
    }


def in_words(found: Mapping[str, Any]) -> str:
    """The result for people to read: the exclusion rules, then the numbers."""
    people, answers = found["participants"], found["answers"]
    left_out = ", ".join(f"{n} {why}" for why, n in people["left_out"].items()).replace("_", " ")
    lines = [
        f"Left out, as was set before the study: {found['exclusion_rules']}.",
        f"{people['begun']} began, {people['analyzed']} are analyzed ({left_out});"
        f" {found['withdrew']} withdrew; {answers['late_left_out']} of {answers['judged']} answers"
        " were late.",
    ]
    for one in found["comparisons"]:
        lines.append(f"{one['method']} against {one['other']}: {_sentence(one)}")
    return "\n".join(lines)


def _sentence(one: Mapping[str, Any]) -> str:
    if not one["answers"]:
        return "nothing has been judged yet."
    interval = "" if one["low"] is None else f" ({one['low']:.1f} to {one['high']:.1f})"
    return (
        f"{one['win_rate']:.1f}%{interval}, {one['wins']} of {one['answers']} answers of "
        f"{one['participants']} people; one-sided p = {one['binomial_p']:.3g} over answers, "
        f"{one['people_p']:.3g} over people."
    )


def consistency(outcomes: Mapping[str, Sequence[float]]) -> Consistency:
    """One-way analysis of variance over people (Shrout and Fleiss, 1979, case 1).

    `icc = (MSB - MSW) / (MSB + (k - 1) MSW)` and `reliability = 1 - MSW / MSB`, with the mean
    squares between and within people, and `k` answers each (their weighted mean where unequal).
    nan where there are too few people or answers, or nothing differs. With fewer than two answers
    each, the estimate can fall below -1, where it is kept.
    """
    kept = [np.asarray(values, dtype=np.float64) for values in outcomes.values() if len(values)]
    people, total = len(kept), sum(len(values) for values in kept)
    if people < 2 or total <= people:
        return Consistency(math.nan, math.nan)
    grand = sum(values.sum() for values in kept) / total
    between = sum(len(v) * (v.mean() - grand) ** 2 for v in kept) / (people - 1)
    within = sum(((v - v.mean()) ** 2).sum() for v in kept) / (total - people)
    each = (total - sum(len(v) ** 2 for v in kept) / total) / (people - 1)
    if between == 0:
        return Consistency(math.nan, math.nan)
    icc = (between - within) / (between + (each - 1) * within)
    return Consistency(max(-1.0, float(icc)), float(1 - within / between))


def failed_too_many(study: Study, items: Sequence[ItemRecord]) -> bool:
    """Returns whether a participant's attention checks exclude them."""
    return sum(item.failed for item in items) > study.exclude.failed_checks


def attributes(study: Study, person: PersonRecord) -> dict[str, str]:
    """Returns what groups are made of: replies that were chosen, and the language; no free text."""
    asks = study.languages[person.language].asks
    chosen = {ask.name for ask in asks if ask.choices}
    replies = {name: value for name, value in person.replies.items() if name in chosen}
    return replies | {"language": person.language}


def name_of(number: int) -> str:
    """Returns what a participant is called in results and exports."""
    return f"participant-{number:04d}"


def _comparison(
    one: str, other: str, outcomes: Outcomes, users: Sequence[User], seed: int
) -> dict[str, Any]:
    every = [value for values in outcomes.values() for value in values]
    found: dict[str, Any] = {"method": one, "other": other, "participants": len(outcomes)}
    if not every:
        return found | {"answers": 0, "wins": 0}
    wins, decided = wins_of_decided(every)
    low, high = user_ci(outcomes, np.random.default_rng(seed), most=1.0)
    people = wins_of_decided(mean_by_user(outcomes).values())
    same = consistency(outcomes)
    return found | {
        "answers": decided,
        "wins": wins,
        "win_rate": win_rate(every),
        "low": _finite(100 * low),
        "high": _finite(100 * high),
        "binomial_p": binomial_p(wins, decided),
        "people_who_prefer_it": people[0],
        "people_who_differ": people[1],
        "people_p": binomial_p(*people),
        "icc": _finite(same.icc),
        "reliability": _finite(same.reliability),
        "groups": [
            {name: _finite(value) for name, value in group._asdict().items()}
            for group in compare_groups(outcomes, groups_of(users), seed, most=1.0)
        ],
    }


def _reason_to_leave_out(study: Study, person: PersonRecord, items: Sequence[ItemRecord]) -> str:
    if study.exclude.unfinished and any(
        item.stage == "judge" and not item.choice and not item.skipped for item in items
    ):
        return "unfinished"
    return "failed_checks" if failed_too_many(study, items) else ""


def _late(study: Study, item: ItemRecord) -> bool:
    return study.exclude.late and (item.seconds or 0) > study.limits.max_seconds


def _outcomes(items: Sequence[ItemRecord], one: str, other: str) -> Outcomes:
    outcomes: Outcomes = {}
    for item in items:
        if {item.left_method, item.right_method} == {one, other}:
            own = outcomes.setdefault(name_of(item.participant), [])
            own.append(float(item.chosen_method == one))
    return outcomes


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> Any:
    """JSON knows no nan."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
