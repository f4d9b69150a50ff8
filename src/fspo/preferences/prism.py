"""Reads PRISM, real people's ratings of models' answers, into preferences.

PRISM (Kirk et al., arXiv 2404.16019; `HannahRoseKirk/prism-alignment` on the hub) has 1,396 people
who asked what they liked and rated up to four answers from 1 to 100. A folder of it holds

    utterances.jsonl   user_id, conversation_id, turn, user_prompt, model_response, score, ...
    survey.jsonl       user_id, self_description, age, gender, education, ...; may be absent
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fspo.console import say
from fspo.errors import FspoError, excerpt
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.tables import SUFFIXES, Row, rows

ATTRIBUTES = ("age", "gender", "education", "employment_status", "english_proficiency")

Asked = tuple[str, str, str]  # user, conversation, prompt


class Rated(NamedTuple):
    """An answer, its score from 1 to 100, the model that wrote it, and its row."""

    score: float
    response: str
    model: str
    place: str


def import_prism(source: Path) -> Preferences:
    """The answer that each person rated highest, preferred to each one rated lower.

    Only a conversation's first turn is read: what is said later depends on what was said before.

    Args:
        source: a folder as above, its tables in any of the formats that we read.

    Returns:
        Preferences with `score_chosen`, `score_rejected`, `model_chosen` and `model_rejected`
        beside them, and users with their self-descriptions.

    Raises:
        FspoError: if the table of utterances is missing, or a row is malformed.
    """
    asked: dict[Asked, list[Rated]] = {}
    left_out = 0
    for place, row in rows(_table(source, "utterances")):
        if row.get("turn") not in (0, "0"):
            continue
        user, conversation, prompt = (
            _text(place, row, field) for field in ("user_id", "conversation_id", "user_prompt")
        )
        score, response = _number(place, row, "score"), row.get("model_response")
        if score is None or not isinstance(response, str) or not response.strip():
            left_out += 1  # a model that failed to answer
            continue
        rated = Rated(score, response, str(row.get("model_name") or ""), place)
        asked.setdefault((user, conversation, prompt), []).append(rated)
    if left_out:
        say(f"{source}: {left_out} answers without a text or a score are left out")
    by_user: dict[str, list[Preference]] = {}
    for (user, _, prompt), answers in asked.items():
        by_user.setdefault(user, []).extend(_pairs(prompt, answers))
    by_user = {user: own for user, own in by_user.items() if own}
    if not by_user:
        raise FspoError(f"{source}: holds no two answers that one person rated differently")
    return Preferences(by_user, _people(source), str(source))


def _pairs(prompt: str, answers: Sequence[Rated]) -> Iterator[Preference]:
    best = max(answers, key=lambda rated: rated.score)
    for other in answers:
        if other.score < best.score and other.response != best.response:
            extra = {
                "score_chosen": best.score,
                "score_rejected": other.score,
                "model_chosen": best.model,
                "model_rejected": other.model,
            }
            yield Preference(prompt, best.response, other.response, other.place, extra)


def _people(source: Path) -> Iterator[User]:
    if not any((source / f"survey{suffix}").is_file() for suffix in SUFFIXES):
        return
    for place, row in rows(_table(source, "survey")):
        known = {key: row[key] for key in ATTRIBUTES if isinstance(row.get(key), str)}
        description = row.get("self_description")
        yield User(
            _text(place, row, "user_id"),
            description.strip() if isinstance(description, str) else "",
            known,
        )


def _table(source: Path, name: str) -> Path:
    for suffix in SUFFIXES:
        if (source / f"{name}{suffix}").is_file():
            return source / f"{name}{suffix}"
    raise FspoError(
        f"{source}: there is no {name}.jsonl in it. Give the folder with PRISM's tables: download "
        "HannahRoseKirk/prism-alignment from the hub."
    )


def _text(place: str, row: Row, field: str) -> str:
    value: Any = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise FspoError(f"{place}: {field} is not text: {excerpt(value)}; is this PRISM's table?")
    return value


def _number(place: str, row: Row, field: str) -> float | None:
    value: Any = row.get(field)
    if value is None or value != value:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise FspoError(f"{place}: {field} is not a number: {excerpt(value)}") from error
