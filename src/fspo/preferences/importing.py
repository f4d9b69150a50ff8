"""Turns the layouts of the paper's three released datasets, and PRISM's, into ours.

    persona-iterative-responses   x, yw, yl, level, score_persona     (Roleplay)
    steered-reviews               prompt, response_x, response_y, label, scorer_level, level_x, ...
    elix-generations              the same columns
    prism                         a folder of its tables; see prism.py

In the first, `score_persona` is who preferred `yw` to `yl`: a description, or a record that has it
as `persona_description` beside such as `persona_uuid`. In the others, `scorer_level`
names who labeled, and label 0 prefers `response_x`, 1 `response_y`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fspo.console import say
from fspo.errors import FspoError, cut, excerpt
from fspo.preferences.prism import import_prism
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.tables import SUFFIXES, Row, is_whole, kind_of, rows, rows_within

# A row as whose it is, and the preference; None where it holds none (a tie).
Converted = tuple[User, Preference] | None


def import_released(layout: str, source: Path) -> Preferences:
    """Reads a released dataset from a local file, or from a folder of such files.

    A folder's files become one dataset; import training and test files one by one to keep them
    apart.

    Args:
        layout: one of `LAYOUTS`, or "prism".
        source: parquet, JSON lines, JSON or CSV.

    Returns:
        The preferences; what was no preference (ties, equal responses) is left out and counted
        on standard error.

    Raises:
        FspoError: if layout or source is unknown, or a column is missing.
    """
    if layout == "prism":
        return import_prism(source)
    if layout not in LAYOUTS:
        raise FspoError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}, prism")
    by_user: dict[str, list[Preference]] = {}
    users: dict[str, User] = {}
    left_out = 0
    for place, row in _all_rows(source):
        converted = LAYOUTS[layout](place, row)
        if converted is None:
            left_out += 1
            continue
        user, preference = converted
        users[user.user_id] = user
        by_user.setdefault(user.user_id, []).append(preference)
    if left_out:
        say(f"{source}: {left_out} rows without a preference (ties, equal responses) are left out")
    if not by_user:
        raise FspoError(f"{source}: holds no preferences")
    return Preferences(by_user, users.values(), str(source))


def _all_rows(source: Path) -> Iterator[tuple[str, Row]]:
    if kind_of(source) != "folder":
        yield from rows(source)
        return
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise FspoError(f"{source}: holds no table ({', '.join(SUFFIXES)})")
    for file in files:
        yield from rows(file)


def _persona_responses(place: str, row: Row) -> Converted:
    persona, about = _persona(place, row)
    # The persona's text is who the user is; a name for it that is stable and short.
    user = User("persona-" + hashlib.sha256(persona.encode()).hexdigest()[:12], persona, about)
    extra: Row = {key: row[key] for key in ("level",) if key in row}
    return _pair(user, place, row, ("x", "yw", "yl"), extra)


def _persona(place: str, row: Row) -> tuple[str, dict[str, Any]]:
    """A persona's description, and what else is known of the persona."""
    persona = _value(place, row, "score_persona")
    if not isinstance(persona, dict):
        return _named(place, row, "score_persona"), {}
    about = {key: value for key, value in persona.items() if value is not None}
    description = _named(f"{place}: score_persona", about, "persona_description")
    return description, {k: v for k, v in about.items() if k != "persona_description"}


def _scored_pairs(place: str, row: Row) -> Converted:
    user = User(_named(place, row, "scorer_level"))
    label = _label(place, _value(place, row, "label"))
    if label is None:
        return None
    sides = ("response_y", "response_x") if label else ("response_x", "response_y")
    fields = ("prompt", *sides)
    extra: Row = {key: row[key] for key in ("level_x", "level_y") if key in row}
    return _pair(user, place, row, fields, extra)


def _label(place: str, value: Any) -> int | None:
    """Returns 0 or 1, or None for a tie: no label, or one between them.

    Raises:
        FspoError: for anything else: which response it prefers is not known.
    """
    text = "" if value is None or value != value else str(value).strip()
    try:
        number = 0.5 if text.lower() in ("", "tie") else float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise FspoError(
            f"{place}: label is {excerpt(value)}; it has to be 0 where response_x is preferred, "
            "1 where response_y is, and 0.5 or nothing at a tie"
        )
    return int(number) if number in (0, 1) else None


LAYOUTS: dict[str, Callable[[str, Row], Converted]] = {
    "persona-iterative-responses": _persona_responses,
    "steered-reviews": _scored_pairs,
    "elix-generations": _scored_pairs,
}


def _pair(user: User, place: str, row: Row, fields: tuple[str, str, str], extra: Row) -> Converted:
    prompt, chosen, rejected = (_text(place, row, field) for field in fields)
    if chosen == rejected or not chosen.strip() or not rejected.strip():
        return None
    return user, Preference(prompt, chosen, rejected, place, extra)


def _text(place: str, row: Row, field: str) -> str:
    value = _value(place, row, field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a level may be a number
    if not isinstance(value, str) or not is_whole(value):
        raise FspoError(f"{place}: {field} is not text: {excerpt(value)}; mend or remove the row")
    return value


def _named(place: str, row: Row, field: str) -> str:
    """Text that says who a user is, and so cannot be blank."""
    value = _text(place, row, field)
    if not value.strip():
        raise FspoError(f"{place}: {field} is blank; mend or remove the row")
    return value


def _value(place: str, row: Row, field: str) -> Any:
    if field not in row:
        raise FspoError(
            f"{place}: there is no column {field!r}; it has {cut(', '.join(map(str, row)))}. "
            f"Is this the layout that you named?{_other(row, field)}"
        )
    return row[field]


def _other(row: Row, field: str) -> str:
    """Returns what to do with rows of another layout than those of the paper."""
    if within := rows_within(row, field):
        return f" It has none{within}"
    if "completion" in row and "label" in row:
        return (
            " Single completions with a label are TRL's format for KTO; fspo needs, for each user "
            "and prompt, a completion that the user likes as `chosen` and one that the user does "
            "not as `rejected`, in a file with user_id, prompt, chosen, rejected"
        )
    if "chosen" in row and "rejected" in row:
        return (
            " Rows with chosen and rejected need no import: with user_id and prompt beside them "
            "they are a preference dataset as they are"
        )
    return ""
