"""Pieces of a growing text against the whole of it, however it grows."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fspo.assistant.pieces import Pieces, whole
from fspo.learning.templates import before_next_heading, neutralize, restore

texts = st.text(alphabet="ab \n\\#\x85é🙂\u3000\u200b", max_size=24)
stops = st.lists(st.text(alphabet="ab \n#é", max_size=3), max_size=3)


def told(data: bytes, cuts: list[int], stop: list[str], templated: bool) -> tuple[list[str], str]:
    """The pieces of a text that grows by bytes, and the text at which it ended."""
    pieces = Pieces(stop, templated)
    found, text = [], ""
    for end in sorted({*(cut % (len(data) + 1) for cut in cuts), len(data)}):
        text = data[:end].decode(errors="replace")
        found.append(pieces.add(text))
        if pieces.ended:
            return found, text
    return [*found, pieces.rest(text)], text


@settings(max_examples=400)
@given(text=texts, cuts=st.lists(st.integers(0, 200)), stop=stops, templated=st.booleans())
@example(text="a\n\\\\# b", cuts=[1, 2, 3, 4, 5], stop=[], templated=True)
@example(text="abab\n# c", cuts=[1, 2, 3, 4, 5, 6], stop=["abb", "b"], templated=True)
def test_pieces_are_the_whole(text: str, cuts: list[int], stop: list[str], templated: bool) -> None:
    found, end = told(text.encode(), cuts, stop, templated)
    assert "".join(found) == whole(text, stop, templated) == whole(end, stop, templated)
    assert "\ufffd" not in "".join(found)


@given(text=texts)
def test_without_stop_strings_it_is_what_evaluation_takes(text: str) -> None:
    assert whole(text) == restore(before_next_heading(text)).strip()
    assert whole(neutralize(text)) == text.strip()
    assert whole(text, templated=False) == text


def test_it_ends_before_the_stop_string_that_is_complete_first() -> None:
    assert whole("one two three", ["three", "wo t"]) == "one t"
    assert whole("one two three", ["", "none"]) == "one two three"
    pieces = Pieces(["END"])
    assert [pieces.add(text) for text in ("a", "a E", "a E N", "a E NEN", "a E NENDx")] == [
        "a", " ", "E N", "", ""
    ]  # fmt: skip
    assert pieces.ended


def test_half_a_character_waits_for_the_other_half() -> None:
    pieces = Pieces()
    data = "né🙂".encode()
    grown = [data[:end].decode(errors="replace") for end in range(1, len(data) + 1)]
    assert [pieces.add(text) for text in grown] == ["n", "", "é", "", "", "", "🙂"]
    assert whole("n\ufffd") == "n"
