"""Progress of a study: counts, drop-outs, failed checks, seconds per item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from fspo.study.records import ItemRecord, PersonRecord, Records

GONE_AFTER = timedelta(minutes=30)
_STEPS = ("begun", "instructed", "labeled", "introduced", "finished")


def live(records: Records, moment: datetime) -> dict[str, Any]:
    """The figures of the researcher's page.

    Args:
        records: what was gathered.
        moment: now; whoever has not been seen for half an hour, and has not finished, dropped out.
    """
    people, own = records.people, records.items_of()
    gone = [p for p in people if not p.finished and moment - p.seen > GONE_AFTER]
    answered = [item for item in records.items if item.choice]
    return {
        "steps": {step: sum(getattr(p, step) is not None for p in people) for step in _STEPS},
        "here_now": sum(not p.finished for p in people) - len(gone),
        "dropped_out": {step: count for step, count in _last_steps(gone).items() if count},
        "withdrew": records.events.get("withdrew", 0),
        "too_soon": records.events.get("too_soon", 0),
        "answers_written": dict(records.answers_by_state),
        "failed_checks": sum(item.failed for item in answered),
        "checks": sum(item.is_check for item in answered),
        "seconds": {
            stage: _seconds([item for item in answered if item.stage == stage])
            for stage in ("practice", "label", "judge")
        },
        "judged": _judged(answered),
        "participants": [_row(person, own[person.number]) for person in people],
    }


def _last_steps(people: Sequence[PersonRecord]) -> dict[str, int]:
    """Returns how many got how far."""
    last = [_step_of(person) for person in people]
    return {step: last.count(step) for step in _STEPS}


def _step_of(person: PersonRecord) -> str:
    return [step for step in _STEPS if getattr(person, step) is not None][-1]


def _row(person: PersonRecord, items: Sequence[ItemRecord]) -> dict[str, Any]:
    seconds = [item.seconds for item in items if item.seconds is not None]
    return {
        "number": person.number,
        "language": person.language,
        "step": _step_of(person),
        "answered": len(seconds),
        "items": len(items),
        "failed": sum(item.failed for item in items),
        "seconds": median(seconds) if seconds else None,
    }


def _seconds(items: Sequence[ItemRecord]) -> dict[str, float] | None:
    found = sorted(item.seconds for item in items if item.seconds is not None)
    if not found:
        return None
    return {"median": median(found), "most": found[-1], "items": len(found)}


def _judged(items: Sequence[ItemRecord]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        if item.left_method:
            name = " and ".join(sorted((item.left_method, item.right_method)))
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
