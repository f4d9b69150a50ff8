"""Reads parquet, which can hold in two kilobytes what takes gigabytes in memory.

A text that comes a million times is kept once in the file, and is kept once here. What a file
would grow to is known before it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fspo.errors import FspoError, first_line
from fspo.preferences.tables import Row, check_columns

_ROWS = 100_000  # a parquet file may have more than that, if it has as many bytes
_LETTERS = 2**28  # and more text than that, if it has a thousandth of it in bytes


def read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    """Yields each row as `tables.rows` does.

    Raises:
        FspoError: if the file is damaged, or a small one that would fill the memory.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        texts, at_once = _texts_in(path)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            check_columns(path, file.schema_arrow.names)
            size, letters = path.stat().st_size, 0
            _check_growth(path, "rows", file.metadata.num_rows, max(_ROWS, size))
            for batch in file.iter_batches(at_once):
                letters += sum(_letters(column) for column in batch.columns)
                _check_growth(path, "bytes of text", letters, max(_LETTERS, 1000 * size))
                for row in _decoded(path, batch, number):
                    number += 1
                    yield f"{path.name} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise FspoError(
            f"{path}: this parquet file is damaged or cut off ({first_line(error)}); "
            "fetch or write it anew"
        ) from error


def _texts_in(path: Path) -> tuple[list[str], int]:
    """The columns whose texts are read once each, however often they come; and rows at once."""
    import pyarrow.parquet

    found = pyarrow.parquet.read_metadata(path)
    texts = {
        found.schema.column(place).path
        for place in range(len(found.schema))
        if found.schema.column(place).logical_type.type == "STRING"
    }
    at_once = 65_536
    for group in range(found.num_row_groups):
        for place in range(found.num_columns):
            column = found.row_group(group).column(place)
            if any("DELTA" in encoding for encoding in column.encodings):
                texts.discard(column.path_in_schema)  # pyarrow cannot read these so
                at_once = 1024
    return sorted(texts), at_once


def _letters(column: Any) -> int:
    """The bytes that the texts of a column take where each stands for itself."""
    import pyarrow
    from pyarrow import compute

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        if str(kind.value_type) not in ("string", "large_string"):
            return int(column.nbytes)
        lengths = compute.binary_length(column.dictionary).cast(pyarrow.int64())
        return int(compute.sum(lengths.take(column.indices)).as_py() or 0)
    if pyarrow.types.is_map(kind):
        return _letters(column.keys) + _letters(column.items)
    if hasattr(column, "flatten"):  # of lists or structs
        inner = column.flatten()
        return sum(map(_letters, inner)) if isinstance(inner, list) else _letters(inner)
    return int(column.nbytes)


def _check_growth(path: Path, what: str, count: int, most: int) -> None:
    if count > most:
        raise FspoError(
            f"{path}: {path.stat().st_size:,} bytes that unpack to {count:,} {what} or more: no "
            "real data do, and they could fill the memory. If they are real, write them as .jsonl."
        )


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
        if pyarrow.types.is_dictionary(column.type) and len(column.dictionary) <= len(column):
            different = column.dictionary.to_pylist()  # a text that comes often is kept once
            return [None if at is None else different[at] for at in column.indices.to_pylist()]
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
                f"{path}: the column {name!r} cannot be read ({first_line(error)}); leave it out, "
                "or write it as text"
            ) from error
        return values
