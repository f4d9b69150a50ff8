"""Text files that people wrote: marks, ends of lines, and what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError
from fspo.text_files import read_lines, read_text

lines = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff"), max_size=9)
    | st.sampled_from(["a\u2028b", "a\x85b", "a\x0bb", "a\x1cb", "e\u0301", " "])
)


@given(lines, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans())
def test_lines_are_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, mark: bool, last: bool
) -> None:
    """Whatever ends them, with a mark at the beginning or without, and with a last end or not."""
    path = tmp_path_factory.mktemp("t") / "x.txt"
    text = end.join(lines) + (end if last else "")
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    assert read_lines(path) == [line for line in lines if line.strip()]
    assert read_text(path) == text.replace(end, "\n")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"good\ncaf\xe9\n", "line 2: invalid UTF-8 at byte 3"),
        (b"\xef\xbb\xbfgood\n\xff", "line 2: invalid UTF-8 at byte 0"),
        (b"a\n\nb\xed\xa0\x80", "line 3: invalid UTF-8 at byte 1, which holds half a character"),
        ("words".encode("utf-16"), "line 1: invalid UTF-8"),
        ("words".encode("utf-16-le"), "line 1: holds a NUL character"),
        (b"a\r\nb\0", "line 2: holds a NUL character"),
    ],
)
def test_what_is_no_text_is_named_by_file_and_line(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    with pytest.raises(FspoError) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
