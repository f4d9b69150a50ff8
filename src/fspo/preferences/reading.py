"""Reads a preference dataset: a folder, a single file, or a dataset of the Hugging Face hub.

preferences.parquet (or .jsonl)    user_id, prompt, chosen, rejected, any further columns
users.parquet (or .jsonl)          user_id, description, attributes, split; optional
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fspo.console import say
from fspo.errors import FspoError, cut, excerpt, first_line
from fspo.files import heal
from fspo.home import in_home
from fspo.preferences.contents import check_contents
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.tables import Row, check_whole, kind_of, parse_json, rows, rows_within

FIELDS = ("user_id", "prompt", "chosen", "rejected")


def load_preferences(path: str | Path, drop_ties: bool = False) -> Preferences:
    """Reads a preference dataset.

    Args:
        path: a folder in our format, a `.parquet` or `.jsonl` file, or, where nothing of that name
            exists, the id of a dataset on the hub, such as `owner/name`.
        drop_ties: leave out rows whose two responses are the same text, and say how many.

    Returns:
        The preferences in the file's order, with the users' descriptions, attributes and splits
        where the dataset has them.

    Raises:
        FspoError: naming file, row and field, if anything is missing or malformed.
    """
    by_user: dict[str, list[Preference]] = {}
    ties = 0
    path = in_home(str(path))
    for user_id, preference in preference_rows(path):
        if preference.chosen == preference.rejected:
            ties += 1
            if drop_ties:
                continue
            raise FspoError(
                f"{path}: {preference.row}: chosen and rejected are the same text; a preference is "
                "between two different answers. Remove such rows: `fspo data check` lists all of "
                "them. In `fspo train` and `fspo evaluate` --drop-ties leaves them out."
            )
        by_user.setdefault(user_id, []).append(preference)
    if ties:
        say(f"{path}: {ties} rows with two equal responses left out")
    if not by_user:
        raise FspoError(f"{path}: holds no preferences")
    return Preferences(by_user, read_users(Path(path)), source=str(path))


def preference_rows(path: str | Path) -> Iterator[tuple[str, Preference]]:
    """Yields each row as user id and preference; only what is not a preference at all is a fault.

    Raises:
        FspoError: as `load_preferences`, but for two equal responses.
    """
    for place, row in _dataset_rows(path):
        for field in FIELDS:
            _check_field(path, place, row, field)
        extra = {key: value for key, value in row.items() if key not in FIELDS}
        yield (
            str(row["user_id"]),
            Preference(row["prompt"], row["chosen"], row["rejected"], place, extra),
        )


def _dataset_rows(path: str | Path) -> Iterable[tuple[str, Row]]:
    place = Path(path)
    heal(place)
    if kind_of(place) == "folder":
        check_contents(place)
        file = _table_in(place, "preferences")
        if file is None:
            raise FspoError(f"{place}: holds no preferences.parquet and no preferences.jsonl")
        return rows(file)
    if kind_of(place) or place.suffix in (".parquet", ".jsonl"):
        return rows(place)
    return _hub_rows(str(path))


def _hub_rows(name: str) -> Iterator[tuple[str, Row]]:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FspoError(f"{name}: no such file or folder")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise FspoError(
            f"{name}: no such file or folder. If it is a dataset of the hub, "
            "install what reads those: pip install 'fspo[hub]'"
        ) from error
    try:
        table = load_dataset(name, split="train")
    except Exception as error:  # the hub's client raises many kinds
        reason = first_line(error)
        raise FspoError(
            f"{name}: no such file or folder, and no dataset of the hub that this machine can "
            f"reach ({reason})"
        ) from error
    for number, row in enumerate(table, 1):
        yield f"{name} row {number}", dict(row)


def _table_in(folder: Path, name: str) -> Path | None:
    places = [folder / f"{name}{suffix}" for suffix in (".parquet", ".jsonl")]
    found = [place for place in places if place.is_file()]
    if len(found) > 1:
        raise FspoError(f"{folder}: holds both {found[0].name} and {found[1].name}; remove one")
    return found[0] if found else None


def _check_field(path: str | Path, place: str, row: Row, field: str) -> None:
    if field not in row:
        raise FspoError(f"{path}: {place}: there is no column {field!r}{_instead(row, field)}")
    value = row[field]
    if field == "user_id" and isinstance(value, int) and not isinstance(value, bool):
        return
    if value is None or value != value:  # NaN is the one value that differs from itself
        raise FspoError(f"{path}: {place}: {field} is empty; fill it in or remove the row")
    if not isinstance(value, str):
        raise FspoError(
            f"{path}: {place}: {field} is {type(value).__name__}, not text: {excerpt(value)}"
        )
    if field != "prompt" and not value.strip():
        raise FspoError(f"{path}: {place}: {field} is blank; fill it in or remove the row")
    check_whole(value, f"{path}: {place}: {field}")


def _instead(row: Row, field: str) -> str:
    """Returns what a row without a column has in its place, and what to do about it."""
    names = [str(key) for key in row]
    if within := rows_within(row, field):
        return within
    if "completion" in row and not {"chosen", "rejected"} & row.keys():
        return (
            "; its rows are single completions (with a label: TRL's format for KTO), and a "
            "preference is between two: write rows of user_id, prompt, chosen and rejected, each "
            "with a completion that the user likes and one to the same prompt that the user does "
            "not"
        )
    if near := get_close_matches(field, names, n=1, cutoff=0.6):
        return f"; is it {excerpt(near[0], 60)}? Rename it"
    return f"; there is {cut(', '.join(names[:20])) or 'none at all'}"


def read_users(path: Path) -> list[User]:
    """Returns what a dataset's folder says of its users; nothing where there is no such table.

    Raises:
        FspoError: if the table names nobody, or somebody twice, or has malformed attributes.
    """
    file = _table_in(path, "users") if kind_of(path) == "folder" else None
    users: dict[str, User] = {}
    for place, row in rows(file) if file else ():
        _check_field(str(file), place, row, "user_id")
        for field in ("description", "split"):
            if row.get(field) is not None and not isinstance(row[field], str):
                raise FspoError(f"{file}: {place}: {field} is not text: {excerpt(row[field])}")
            check_whole(row.get(field) or "", f"{file}: {place}: {field}")
        user_id = str(row["user_id"])
        if user_id in users:
            raise FspoError(f"{file}: {place}: user {excerpt(user_id)} stands here a second time")
        users[user_id] = User(
            user_id,
            row.get("description") or "",
            _attributes(f"{file}: {place}", row.get("attributes")),
            row.get("split") or "",
        )
    return list(users.values())


def _attributes(place: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    found = parse_json(value, f"{place}: attributes") if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise FspoError(f"{place}: attributes: has to be a JSON object, such as {{}}")
    check_whole(json.dumps(found, ensure_ascii=False, default=str), f"{place}: attributes:")
    if isinstance(value, str):
        return found
    # A struct of parquet has the fields of all users; those that this user lacks are null.
    return {key: held for key, held in found.items() if held is not None}
