"""Turns the layouts of the paper's three released datasets into ours.

    persona-iterative-responses   x, yw, yl, level, score_persona     (Roleplay)
    steered-reviews               prompt, response_x, response_y, label, scorer_level, level_x, ...
    elix-generations              the same columns

In the first, `score_persona` describes who preferred `yw` to `yl`. In the others, `scorer_level`
names who labeled, and label 0 prefers `response_x`, 1 `response_y`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fspo.console import say
from fspo.errors import FspoError
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.tables import SUFFIXES, Row, rows

# A row as whose it is, and the preference; None where it holds none (a tie).
Converted = tuple[User, Preference] | None


def import_released(layout: str, source: Path) -> Preferences:
    """Reads a released dataset from a local file, or from a folder of such files.

    Args:
        layout: one of `LAYOUTS`.
        source: parquet, JSON lines, JSON or CSV.

    Returns:
        The preferences; what was no preference (ties, equal responses) is left out and counted
        on standard error.

    Raises:
        FspoError: if layout or source is unknown, or a column is missing.
    """
    if layout not in LAYOUTS:
        raise FspoError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
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
    if not source.is_dir():
        yield from rows(source)
        return
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise FspoError(f"{source}: holds no table ({', '.join(SUFFIXES)})")
    for file in files:
        yield from rows(file)


def _persona_responses(place: str, row: Row) -> Converted:
    persona = _text(place, row, "score_persona")
    # The persona's text is who the user is; a name for it that is stable and short.
    user = User("persona-" + hashlib.sha256(persona.encode()).hexdigest()[:12], persona)
    extra: Row = {key: row[key] for key in ("level",) if key in row}
    return _pair(user, place, row, ("x", "yw", "yl"), extra)


def _scored_pairs(place: str, row: Row) -> Converted:
    user = User(_text(place, row, "scorer_level"))
    fields = {
        "0": ("prompt", "response_x", "response_y"),
        "1": ("prompt", "response_y", "response_x"),
    }.get(_text(place, row, "label").removesuffix(".0"))
    if fields is None:
        return None
    extra: Row = {key: row[key] for key in ("level_x", "level_y") if key in row}
    return _pair(user, place, row, fields, extra)


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
    if field not in row:
        raise FspoError(
            f"{place}: there is no column {field!r}; it has {', '.join(map(str, row))}. "
            "Is this the layout that you named?"
        )
    value = row[field]
    if value is None or value != value:
        raise FspoError(f"{place}: {field} is empty; remove the row")
    return str(value)
