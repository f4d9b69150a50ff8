"""Writes a preference dataset as it comes, so that a million rows need no more memory than a few.

What is written is what `save_preferences` writes, beside any further files; nothing is seen of it
before it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from fspo.errors import FspoError
from fspo.files import replacing_folder
from fspo.preferences.reading import FIELDS
from fspo.preferences.records import Preference, User
from fspo.preferences.tables import check_whole
from fspo.preferences.writing import check_place, user_rows, write_card, write_parquet

ROWS_AT_ONCE = 10_000  # in a row group

Columns = Mapping[str, Literal["string", "float64"]]


class PreferenceStream:
    """The folder while it is written."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        import pyarrow
        import pyarrow.parquet

        kinds = dict.fromkeys(FIELDS, "string") | dict(columns)
        self._folder = folder
        self._schema = pyarrow.schema([(n, getattr(pyarrow, k)()) for n, k in kinds.items()])
        self._writer = pyarrow.parquet.ParquetWriter(
            folder / "preferences.parquet", self._schema, compression="zstd"
        )
        self._rows: list[dict[str, Any]] = []
        self.count = 0

    def add(self, user_id: str, preferences: Sequence[Preference]) -> None:
        """Writes a user's preferences; their `extra` holds the further columns.

        Raises:
            FspoError: if a text cannot be written.
        """
        for p in preferences:
            own = {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
            self._rows.append({"user_id": user_id} | own | dict(p.extra))
        self.count += len(preferences)
        while len(self._rows) >= ROWS_AT_ONCE:
            self._flush(ROWS_AT_ONCE)

    def finish(
        self,
        users: Sequence[User],
        card: str,
        beside: Mapping[str, bytes],
        judge: str | None = None,
    ) -> None:
        """Writes the users, the card, and the files `beside`, by their paths in the folder.

        Args:
            users: of the preferences.
            card: Markdown for README.md.
            beside: path in the folder -> content of a further file.
            judge: the domain whose measures say what these users prefer, if one does.

        Raises:
            FspoError: if there are no preferences.
        """
        if not self.count:
            raise FspoError("there are no preferences to write: every pair was dropped")
        self._flush(len(self._rows))
        self._writer.close()
        write_parquet(self._folder / "users.parquet", list(user_rows(users)))
        for name, content in beside.items():
            path = self._folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        check_whole(card, "the card")
        write_card(self._folder, card, "parquet", True, judge)

    def close(self) -> None:
        """Lets go of the file, written to its end or not."""
        self._writer.close()

    def _flush(self, count: int) -> None:
        import pyarrow

        if count:
            try:
                table = pyarrow.Table.from_pylist(self._rows[:count], schema=self._schema)
            except UnicodeEncodeError as error:
                raise FspoError(
                    f"a text holds half a character (a lone surrogate): {error.object[:60]!r}"
                ) from error
            self._writer.write_table(table)
            del self._rows[:count]


@contextmanager
def stream_preferences(folder: Path, columns: Columns) -> Iterator[PreferenceStream]:
    """Gives something to add preferences to; `folder` is replaced when all went well.

    Args:
        folder: where the dataset goes.
        columns: further columns and their kinds.

    Raises:
        FspoError: if the disk is full, or `folder` holds anything but a dataset.
    """
    folder = folder.resolve()  # so that "." has a name and a parent
    check_place(folder)
    with replacing_folder(folder) as unfinished:
        stream = PreferenceStream(unfinished, columns)
        try:
            yield stream
        finally:
            stream.close()
