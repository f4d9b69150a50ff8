"""Reads text files that people wrote: questions, recipes, tables.

All in one manner: UTF-8, with or without the mark (U+FEFF) that some editors put first, and with
any of the three ends of a line. A line ends there alone: U+2028, U+0085 and their like stand in
the middle of sentences that were copied from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from fspo.errors import FspoError


def read_text(path: Path) -> str:
    """Reads a whole file, with a line feed at the end of each line.

    Raises:
        FspoError: naming the file, and the line that is not UTF-8 or holds a NUL.
        OSError: if there is no such file, or it may not be read; the caller knows what it is for.
    """
    try:
        text = decode(path.read_bytes(), "")
    except FspoError as error:
        raise FspoError(f"{path}: is not UTF-8 and cannot be read: {error}") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = line_of(text, text.index("\0"))
        raise FspoError(
            f"{path}: line {line}: holds a NUL character; remove it, or save the file as UTF-8"
        )
    return text


def read_lines(path: Path) -> list[str]:
    """Reads a file's lines, without their ends, and without the blank ones.

    Raises:
        FspoError: as `read_text`.
    """
    return [line for line in read_text(path).split("\n") if line.strip()]


def decode(data: bytes, place: str, first: int | None = 1) -> str:
    """Decodes UTF-8, without the mark before it.

    Args:
        data: the bytes.
        place: where they are from, such as "x.csv: "; it stands before the message.
        first: the number of their first line; None if `place` names the line already.

    Raises:
        FspoError: naming `place` and the line, if these are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        begin = error.object[: error.start]  # without the mark
        line = "" if first is None else f"line {first + begin.count(10)}: "
        byte = len(begin) - (begin.rfind(b"\n") + 1)
        half = b"\xed\xa0" <= error.object[error.start : error.start + 2] <= b"\xed\xbf"
        hint = ", which holds half a character (a lone surrogate)" if half else ""
        raise FspoError(
            f"{place}{line}invalid UTF-8 at byte {byte}{hint}; save the file as UTF-8"
        ) from error


def line_of(text: str, place: int) -> int:
    """Returns the number of the line, from 1, on which a place in a text is."""
    return text.count("\n", 0, place) + 1
