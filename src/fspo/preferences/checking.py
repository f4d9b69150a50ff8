"""Counts what a preference dataset holds: `fspo data check`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.errors import FspoError
from fspo.preferences.reading import preference_rows, read_users
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.splitting import in_no_split

if TYPE_CHECKING:
    from rich.console import Group

_ROWS_NAMED = 5


def check_path(path: str | Path) -> dict[str, Any]:
    """Reads a dataset row by row and counts; equal responses are reported, not refused.

    Returns:
        What can be written as JSON: users, preferences, counts per user, lengths, duplicates,
        ties, contradictions, splits, users in no split. Rows are named where something is wrong
        with them.

    Raises:
        FspoError: if the dataset cannot be read.
    """
    by_user: dict[str, list[Preference]] = {}
    for user_id, preference in preference_rows(path):
        by_user.setdefault(user_id, []).append(preference)
    if not by_user:
        raise FspoError(f"{path}: holds no preferences")
    return check(by_user, read_users(Path(path)))


def check(by_user: dict[str, list[Preference]], users: Iterable[User] = ()) -> dict[str, Any]:
    """Counts what the preferences of each user hold."""
    known = Preferences(by_user, users).users
    every = [p for own in by_user.values() for p in own]
    longer = [len(p.chosen) > len(p.rejected) for p in every if len(p.chosen) != len(p.rejected)]
    duplicates, contradictions, repeated = _repetitions(by_user)
    ties = [p for p in every if p.plain[1].casefold() == p.plain[2].casefold()]
    return {
        "users": len(by_user),
        "preferences": len(every),
        "prompts": len({p.plain[0] for p in every}),
        "preferences_per_user": _spread([len(own) for own in by_user.values()]),
        "users_with_one_preference": sum(len(own) == 1 for own in by_user.values()),
        "words": {
            field: _spread([len(getattr(p, field).split()) for p in every])
            for field in ("prompt", "chosen", "rejected")
        },
        "longer_is_chosen": round(float(np.mean(longer)), 4) if longer else None,
        "duplicates": _named(duplicates),
        "ties": _named(ties),
        "contradictions": _named(contradictions),
        "prompts_repeated_by_a_user": repeated,
        "splits": dict(Counter(u.split for u in known.values() if u.split)),
        "in_no_split": in_no_split(known.values()),
    }


def render(found: dict[str, Any]) -> Group:
    """The same for people to read."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = Table("", "", show_header=False, box=None)
    for name in ("users", "preferences", "prompts", "users_with_one_preference",
                 "longer_is_chosen", "prompts_repeated_by_a_user"):  # fmt: skip
        value = "-" if found[name] is None else f"{found[name]:,}"
        counts.add_row(name.replace("_", " "), value)
    for name in ("duplicates", "ties", "contradictions"):
        rows = ", ".join(found[name]["rows"])
        more = ", ..." if found[name]["count"] > len(found[name]["rows"]) else ""
        shown = f"{found[name]['count']:,}" + (f" ({rows}{more})" if rows else "")
        counts.add_row(name, Text(shown))
    for split, number in found["splits"].items():
        # A name could hold what moves a terminal's cursor or sets its colors.
        shown = "".join(letter if letter.isprintable() else "?" for letter in split)
        counts.add_row(Text(f"users in split {shown}"), f"{number:,}")
    left_out = [Text(told) for told in found["in_no_split"]]
    spreads = Table("", "least", "median", "mean", "95%", "most", box=None)
    spreads.add_row("preferences per user", *_cells(found["preferences_per_user"]))
    for field, spread in found["words"].items():
        spreads.add_row(f"words in {field}", *_cells(spread))
    return Group(counts, *left_out, Text(), spreads)


def _cells(spread: dict[str, float]) -> list[str]:
    return [f"{value:,g}" for value in spread.values()]


def _repetitions(
    by_user: dict[str, list[Preference]],
) -> tuple[list[Preference], list[Preference], int]:
    """Rows that say the same again, rows that say the opposite of an earlier one, and prompts that
    a user was asked about more than once; all are compared by `plain_text`.
    """
    duplicates, contradictions, repeated = [], [], 0
    for own in by_user.values():
        said: set[tuple[str, str, str]] = set()
        prompts: dict[str, int] = defaultdict(int)
        for p in own:
            prompt, chosen, rejected = p.plain
            if p.plain in said:
                duplicates.append(p)
            elif (prompt, rejected, chosen) in said:
                contradictions.append(p)
            said.add(p.plain)
            prompts[prompt] += 1
        repeated += sum(count > 1 for count in prompts.values())
    return duplicates, contradictions, repeated


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {
        "least": min(values),
        "median": float(np.median(values)),
        "mean": round(float(np.mean(values)), 1),
        "p95": round(float(np.percentile(values, 95)), 1),
        "most": max(values),
    }


def _named(rows: Sequence[Preference]) -> dict[str, Any]:
    return {"count": len(rows), "rows": [p.row for p in rows[:_ROWS_NAMED]]}
