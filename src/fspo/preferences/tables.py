"""Reads a table of any of our formats row by row, as it is: parquet, JSON lines, JSON, CSV.

What the rows mean is for the caller. What is wrong with the file itself ends in one message.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fspo.errors import FspoError

Row = dict[str, Any]

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yields each row of a table with the words for its place, such as "x.parquet row 17".

    Rows count from 1; in JSON lines and CSV they are the file's own lines.

    Raises:
        FspoError: if the file is missing, damaged, or of a kind that we do not read.
    """
    if not path.is_file():
        raise FspoError(f"{path}: no such file")
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise FspoError(f"{path}: not a table; it has to be one of {', '.join(SUFFIXES)}")
    try:
        yield from readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise FspoError(
            f"{path}: invalid UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name} row {number}", row
    except UnicodeDecodeError as error:
        raise FspoError(f"{path}: invalid UTF-8 after row {number}; write it anew") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise FspoError(
            f"{path}: this parquet file is damaged or cut off ({_first_line(error)}); "
            "fetch or write it anew"
        ) from error


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise FspoError(f"{path}: line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise FspoError(f"{path}: line {number}: not a JSON object with named fields")
            yield place, row


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise FspoError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise FspoError(f"{path}: not a JSON list of objects with named fields")
    for number, row in enumerate(table, 1):
        yield f"{path.name} row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                yield f"{path.name} line {reader.line_num}", dict(row)
        except csv.Error as error:
            raise FspoError(f"{path}: line {reader.line_num}: not CSV: {error}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
