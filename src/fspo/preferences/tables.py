"""Reads a table of any of our formats row by row, as it is: parquet, JSON lines, JSON, CSV.

What the rows mean is for the caller. What is wrong with the file itself ends in one message.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from fspo.errors import FspoError, excerpt, first_line
from fspo.text_files import decode

Row = dict[str, Any]

_DEPTH = 100  # lists and objects inside one another
_TOO_DEEP = f"not JSON that we read: lists and objects are more than {_DEPTH} deep in one another"

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yields each row of a table with the words for its place, such as "x.parquet row 17".

    Rows count from 1; in JSON lines and CSV they are the file's own lines.

    Raises:
        FspoError: if the file is missing, damaged, or of a kind that we do not read.
    """
    if kind_of(path) != "file":
        raise FspoError(f"{path}: no such file")
    from fspo.preferences.parquet_files import read_parquet

    readers = {".parquet": read_parquet, ".jsonl": _json_lines, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise FspoError(f"{path}: not a table; it has to be one of {', '.join(SUFFIXES)}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise FspoError(f"{path}: cannot be read ({error.strerror or error})") from error


def kind_of(path: Path) -> Literal["file", "folder", ""]:
    """Returns what is there; nothing, too, where the name could not be one (some are too long)."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except OSError:
        return ""


def is_whole(text: str) -> bool:
    """Returns whether UTF-8 can hold `text`: JSON's escapes can name half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_whole(text: str, place: str) -> None:
    """Makes sure that UTF-8 can hold `text`.

    Raises:
        FspoError: naming `place`, if it cannot.
    """
    if is_whole(text):
        return
    # Python reads a byte of a command line or a terminal that is no UTF-8 as one of these.
    if any("\udc80" <= sign <= "\udcff" for sign in text):
        raise FspoError(f"{place} holds bytes that are not UTF-8; set the terminal to UTF-8")
    raise FspoError(f"{place} holds half a character (a lone surrogate)")


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    # Opened as bytes, because only there a line ends at \n alone, and bad UTF-8 has a line number.
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}: line {number}"
            text = decode(line, f"{place}: ", first=None)
            if not text.strip():
                continue
            row = parse_json(text, place)
            if not isinstance(row, dict):
                raise FspoError(f"{place}: not a JSON object with named fields")
            yield f"{path.name} line {number}", row


def parse_json(text: str, place: str) -> Any:
    """Reads JSON text.

    Raises:
        FspoError: naming `place`, if `text` is not JSON, is nested too deep to read, or has an
            object with the same key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unlike_keys)
    except FspoError as error:
        raise FspoError(f"{place}: {error}") from error
    except RecursionError as error:
        raise FspoError(f"{place}: {_TOO_DEEP}") from error
    except ValueError as error:
        reason = "a number has thousands of digits" if "digits" in str(error) else first_line(error)
        raise FspoError(f"{place}: not JSON: {reason}") from error
    if text.count("[") + text.count("{") > _DEPTH and _depth(value) > _DEPTH:
        raise FspoError(f"{place}: {_TOO_DEEP}")
    return value


def _unlike_keys(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FspoError(f"the key {excerpt(twice)} stands in one object twice; remove one of them")
    return found


def _depth(value: Any) -> int:
    """Returns how many lists and objects stand inside one another."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, list | dict)]:
        depth += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    text = decode(path.read_bytes(), f"{path}: ")
    if text.lstrip().startswith("{"):
        _refuse_one_object(text, path)
        yield from _json_lines(path)  # many write JSON lines under this name
        return
    table = parse_json(text, str(path))
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise FspoError(f"{path}: not a JSON list of objects with named fields")
    for number, row in enumerate(table, 1):
        yield f"{path.name} row {number}", row


def _refuse_one_object(text: str, path: Path) -> None:
    """Refuses a whole file that is one object, over several lines: it is no table."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    if "\n" in text.strip():
        keys = ", ".join(excerpt(key, 40) for key in list(found)[:8])
        raise FspoError(
            f"{path}: holds one object, with {keys or 'nothing in it'}, and not a list of rows"
            f"{rows_within(found) or '; put [ ] around it if it is a single row'}"
        )


def rows_within(row: Row, field: str = "") -> str:
    """Says which of a row's values is a list of rows, with `field` if given; else nothing."""
    for key, value in row.items():
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, dict) and (field in first or not field):
            return f"; the rows stand under {excerpt(key, 40)}: write that list alone"
    return ""


def check_columns(path: Path, names: list[str]) -> None:
    """Makes sure that no column comes twice: which of the two is meant is not known.

    Raises:
        FspoError: naming the column.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FspoError(f"{path}: has two columns {excerpt(twice)}; rename or remove one")


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)  # the default, 131,072 characters, is less than a long answer
    text = io.StringIO(decode(path.read_bytes(), f"{path}: "), newline="")
    reader = csv.DictReader(text, strict=True)
    try:
        names = [name for name in reader.fieldnames or () if name]
        check_columns(path, names)
        for row in reader:
            if None in row or None in row.values():
                raise FspoError(
                    f"{path}: line {reader.line_num}: not as many fields as the header has"
                )
            yield f"{path.name} line {reader.line_num}", dict(row)
    except csv.Error as error:
        raise FspoError(f"{path}: line {reader.line_num}: not CSV: {error}") from error
