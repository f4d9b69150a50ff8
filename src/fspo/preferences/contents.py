"""What a dataset's card says to programs: which tables its folder holds, and which judge fits.

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


def card_judge(path: str | Path) -> str | None:
    """Returns the domain whose measures say what a dataset's users prefer, if its card names one.

    Args:
        path: the dataset's folder; other datasets have no card of ours.
    """
    front = _front_matter(Path(path) / "README.md")
    judge = re.search(r"^fspo: *\r?\n +judge: *\"?([^\"\r\n]+?)\"? *\r?$", front, re.MULTILINE)
    return judge[1] if judge else None


def _named_tables(card: Path) -> list[str]:
    return re.findall(
        r"^ *data_files: *(preferences|users)\.(?:parquet|jsonl) *\r?$",
        _front_matter(card),
        re.MULTILINE,
    )


def _front_matter(card: Path) -> str:
    """Returns the YAML that a card of ours begins with; nothing of other cards."""
    try:
        with card.open("rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""
    front = re.match(r"---\r?\n(.*?)\n---", text, re.DOTALL)
    return front[1] if front and re.search(r"^- fspo\s*$", front[1], re.MULTILINE) else ""
