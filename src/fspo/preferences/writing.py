"""Writes a preference dataset: a folder that `load_preferences` and `datasets` open as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from fspo.errors import FspoError
from fspo.files import replacing_folder
from fspo.preferences.reading import FIELDS
from fspo.preferences.records import Preferences

Layout = Literal["parquet", "jsonl"]


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
        FspoError: if there is nothing to write, the disk is full, or `folder` is something else.
    """
    if not len(preferences):
        raise FspoError(f"{folder}: there are no preferences to write")
    if folder.is_dir() and any(folder.iterdir()) and not list(folder.glob("preferences.*")):
        raise FspoError(f"{folder}: holds something else than preferences; take another place")
    users = any(u.description or u.attributes or u.split for u in preferences.users.values())
    with replacing_folder(folder) as unfinished:
        _write(unfinished / f"preferences.{layout}", list(_preference_rows(preferences)), layout)
        if users:
            _write(unfinished / f"users.{layout}", list(_user_rows(preferences)), layout)
        text = _front_matter(layout, users) + card.strip() + "\n"
        (unfinished / "README.md").write_text(text, encoding="utf-8")


def _preference_rows(preferences: Preferences) -> Iterator[dict[str, Any]]:
    further = {key: None for _, p in preferences for key in p.extra if key not in FIELDS}
    for user_id, p in preferences:
        own = {"user_id": user_id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
        yield own | further | dict(p.extra)


def _user_rows(preferences: Preferences) -> Iterator[dict[str, Any]]:
    for user in preferences.users.values():
        yield {
            "user_id": user.user_id,
            "description": user.description,
            "attributes": json.dumps(dict(user.attributes), ensure_ascii=False, sort_keys=True),
            "split": user.split,
        }


def _write(path: Path, table: list[Mapping[str, Any]], layout: Layout) -> None:
    if layout == "jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        return
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path, compression="zstd")


def _front_matter(layout: Layout, users: bool) -> str:
    """What the hub's library needs to know: which file is which table."""
    tables = ["preferences", *(["users"] if users else [])]
    configs = "".join(
        f"- config_name: {name}\n  data_files: {name}.{layout}\n"
        + ("  default: true\n" if name == "preferences" else "")
        for name in tables
    )
    return f"---\nconfigs:\n{configs}tags:\n- preferences\n- personalization\n- fspo\n---\n\n"
