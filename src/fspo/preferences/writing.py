"""Writes a preference dataset: a folder that `load_preferences` and `datasets` open as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fspo.errors import FspoError, excerpt
from fspo.files import replacing_folder
from fspo.preferences.reading import FIELDS
from fspo.preferences.records import Preferences, User
from fspo.preferences.tables import check_whole

Layout = Literal["parquet", "jsonl"]

_FILES = {f"{table}.{kind}" for table in ("preferences", "users") for kind in ("parquet", "jsonl")}
OWN_FILES = _FILES | {"README.md", "checks.json", "growth.jsonl", "plots"}


def save_preferences(
    preferences: Preferences, folder: Path, card: str, layout: Layout = "parquet"
) -> None:
    """Writes `folder` whole or not at all; what it held before is replaced.

    Args:
        preferences: what to write. Columns beyond ours are those of the preferences' `extra`.
        folder: in the format of `load_preferences`; the same input gives the same bytes.
        card: Markdown for README.md: what the data is and how it came about.
        layout: the kind of file.

    Raises:
        FspoError: if there is nothing to write, a value cannot be written in this layout, the disk
            is full, or `folder` holds anything but a dataset.
    """
    folder = folder.resolve()  # so that "." has a name and a parent
    if not len(preferences):
        raise FspoError(f"{folder}: there are no preferences to write")
    check_place(folder)
    check_whole(card, f"{folder}: the card")
    users = any(u.description or u.attributes or u.split for u in preferences.users.values())
    with replacing_folder(folder) as unfinished:
        _write(unfinished / f"preferences.{layout}", list(_preference_rows(preferences)), layout)
        if users:
            rows = list(user_rows(preferences.users.values()))
            _write(unfinished / f"users.{layout}", rows, layout)
        write_card(unfinished, card, layout, users)


def check_place(folder: Path) -> None:
    """Makes sure that writing `folder` anew loses nothing but a dataset.

    Raises:
        FspoError: if it holds anything else.
    """
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = held - ({*OWN_FILES, ".fspo"} if held & _FILES else set())
    if others:
        raise FspoError(
            f"{folder}: holds something else than preferences, such as {min(others)}; "
            "take another place"
        )


def write_card(folder: Path, card: str, layout: Layout, users: bool) -> None:
    """Writes README.md: what the hub's library needs to know, then the card."""
    text = _front_matter(layout, users) + card.strip() + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _preference_rows(preferences: Preferences) -> Iterator[dict[str, Any]]:
    further = {key: None for _, p in preferences for key in p.extra if key not in FIELDS}
    for user_id, p in preferences:
        own = {"user_id": user_id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
        yield own | {key: p.extra.get(key) for key in further}


def user_rows(users: Iterable[User]) -> Iterator[dict[str, Any]]:
    """The rows of the users' table."""
    for user in users:
        yield {
            "user_id": user.user_id,
            "description": user.description,
            "attributes": _json(
                dict(user.attributes), f"user {excerpt(user.user_id)}: attributes", sort_keys=True
            ),
            "split": user.split,
        }


def _write(path: Path, table: Sequence[Mapping[str, Any]], layout: Layout) -> None:
    if layout == "jsonl":
        lines = (_json(row, f"{path.name} line {n}") + "\n" for n, row in enumerate(table, 1))
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        return
    write_parquet(path, table)


def _json(value: Any, place: str, sort_keys: bool = False) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys)
    except (TypeError, ValueError) as error:
        raise FspoError(f"{place}: JSON cannot hold this: {error}") from error
    check_whole(text, f"{place}:")
    return text


def write_parquet(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table whose columns are those of its first row.

    Raises:
        FspoError: naming the column that holds values of more than one kind.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {}
    for name in table[0]:
        try:
            columns[name] = pyarrow.array([row[name] for row in table])
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            raise FspoError(
                f"{path.name}: column {name!r} cannot be written: {error}. "
                "A column holds values of one kind."
            ) from error
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
    except pyarrow.ArrowException as error:
        raise FspoError(f"{path.name}: cannot be written as parquet: {error}") from error


def _front_matter(layout: Layout, users: bool) -> str:
    """Returns what the hub's library needs to know: which file is which table."""
    tables = ["preferences", *(["users"] if users else [])]
    configs = "".join(
        f"- config_name: {name}\n  data_files: {name}.{layout}\n"
        + ("  default: true\n" if name == "preferences" else "")
        for name in tables
    )
    return f"---\nconfigs:\n{configs}tags:\n- preferences\n- personalization\n- fspo\n---\n\n"
