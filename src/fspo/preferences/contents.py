"""Lists a dataset's files in its card, so that one which is gone in part is noticed.

Datasets without such a card, and other people's cards, say nothing, and are read as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

from fspo.errors import FspoError

_LAYOUTS = (".parquet", ".jsonl")
_LONGEST = 65_536  # bytes that are looked through for the card's beginning


def check_contents(folder: Path) -> None:
    """Makes sure that the tables which README.md names are there, in either layout.

    Raises:
        FspoError: naming the one that is missing.
    """
    for name in _named_tables(folder / "README.md"):
        if not any((folder / f"{name}{layout}").is_file() for layout in _LAYOUTS):
            raise FspoError(
                f"{folder}: the table of {name} is missing, which README.md says is there: the "
                "folder is there in part only. Copy or make it again; if you removed the table on "
                "purpose, take its lines out of README.md, too."
            )


def _named_tables(card: Path) -> list[str]:
    try:
        with card.open("rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return []
    front = re.match(r"---\r?\n(.*?)\n---", text, re.DOTALL)
    if front is None or not re.search(r"^- fspo\s*$", front[1], re.MULTILINE):
        return []
    return re.findall(
        r"^ *data_files: *(preferences|users)\.(?:parquet|jsonl) *\r?$", front[1], re.MULTILINE
    )
