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

from fspo.errors import FspoError

Row = dict[str, Any]

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yields each row of a table with the words for its place, such as "x.parquet row 17".

    Rows count from 1; in JSON lines and CSV they are the file's own lines.

    Raises:
        FspoError: if the file is missing, damaged, or of a kind that we do not read.
    """
    if kind_of(path) != "file":
        raise FspoError(f"{path}: no such file")
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise FspoError(f"{path}: not a table; it has to be one of {', '.join(SUFFIXES)}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise FspoError(f"{path}: cannot be read ({error.strerror or error})") from error


def kind_of(path: Path) -> Literal["file", "folder", ""]:
    """What is there; nothing, too, where the name could not be one (some are too long)."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except OSError:
        return ""


def is_whole(text: str) -> bool:
    """Whether UTF-8 can hold `text`: JSON's escapes can name half a character."""
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
    if not is_whole(text):
        raise FspoError(f"{place} holds half a character (a lone surrogate)")


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise FspoError(f"{path}: has two columns {twice[0]!r}; rename or remove one")
            for batch in file.iter_batches():
                for row in _decoded(path, batch, number):
                    number += 1
                    yield f"{path.name} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise FspoError(
            f"{path}: this parquet file is damaged or cut off ({_first_line(error)}); "
            "fetch or write it anew"
        ) from error


def _decoded(path: Path, batch: Any, before: int) -> list[Row]:
    """The rows of a batch, of which `before` rows of the file come before."""
    columns = {
        name: _values(path, name, column, before)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(path: Path, name: str, column: Any, before: int) -> list[Any]:
    """A column's values; as text where Python has none for them, such as for nanoseconds."""
    import pyarrow

    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        for number, value in enumerate(column, before + 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise FspoError(
                    f"{path}: row {number}: {name} is not valid UTF-8; write it anew"
                ) from error
        raise
    except (ValueError, OverflowError, pyarrow.ArrowException, LookupError) as error:
        try:
            values = column.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException:
            raise FspoError(
                f"{path}: the column {name!r} cannot be read ({_first_line(error)}); leave it out, "
                "or write it as text"
            ) from error
        return values


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    # Opened as bytes, because only there a line ends at \n alone, and bad UTF-8 has a line number.
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}: line {number}"
            text = _utf8(line, place)
            if not text.strip():
                continue
            row = parse_json(text, place)
            if not isinstance(row, dict):
                raise FspoError(f"{place}: not a JSON object with named fields")
            yield f"{path.name} line {number}", row


def _utf8(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")  # some editors put a mark before the first line
    except UnicodeDecodeError as error:
        raise FspoError(
            f"{place}: invalid UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error


def parse_json(text: str, place: str) -> Any:
    """Reads JSON text.

    Raises:
        FspoError: naming `place`, if `text` is not JSON, or nested too deep to read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FspoError(f"{place}: not JSON: {error}") from error


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    text = _utf8(path.read_bytes(), str(path))
    if text.lstrip().startswith("{"):  # many write JSON lines under this name
        yield from _json_lines(path)
        return
    table = parse_json(text, str(path))
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise FspoError(f"{path}: not a JSON list of objects with named fields")
    for number, row in enumerate(table, 1):
        yield f"{path.name} row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)  # the default, 131,072 characters, is less than a long answer
    text = io.StringIO(_utf8(path.read_bytes(), str(path)), newline="")
    reader = csv.DictReader(text, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise FspoError(
                    f"{path}: line {reader.line_num}: not as many fields as the header has"
                )
            yield f"{path.name} line {reader.line_num}", dict(row)
    except csv.Error as error:
        raise FspoError(f"{path}: line {reader.line_num}: not CSV: {error}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
