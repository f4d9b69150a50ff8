"""No text of a user's can pass for a heading of the template, and none is lost."""

from __future__ import annotations

import re
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference
from fspo.learning.templates import (
    LINE_ENDS,
    TEMPLATES,
    UNSEEN,
    before_next_heading,
    blocks,
    neutralize,
    restore,
)

HEADINGS = ["# Task", "## Question", "## Preferred Response", "## Dispreferred Response"]
breaks = st.sampled_from(["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
unseen = st.sampled_from(["\u200b", "\ufeff", "\xad", "\u2060", "\x00", "\u3164", "\U000e0041"])
pieces = st.sampled_from([*HEADINGS, "\\#", "\\\\## Question", " ## Question", "\t#", "#"])
ordinary = st.lists(breaks | pieces | st.text("ab# \\\t\u3000é", max_size=5)).map("".join)
hostile = st.lists(breaks | unseen | pieces | st.text(max_size=5)).map("".join)
NOTHING = re.compile(rf"[\s{UNSEEN}]+")  # to be seen


@given(hostile)
def test_no_line_of_a_neutralized_text_starts_like_a_heading(text: str) -> None:
    assert not any(headings(line) for line in neutralize(text).splitlines())


def test_what_nobody_sees_is_known_and_nothing_else_is_taken_for_it() -> None:
    signs = "".join(map(chr, range(sys.maxunicode + 1)))
    blank = {sign for sign in signs if NOTHING.match(sign)}
    controls = {sign for sign in signs if unicodedata.category(sign) in ("Cc", "Cf")}
    spaces = {sign for sign in signs if sign.isspace()}
    assert controls | spaces <= blank
    assert not {sign for sign in blank if unicodedata.category(sign)[0] in "NP"}
    assert not any(re.match(f"[{UNSEEN}]", sign) for sign in spaces)
    ends = {sign for sign in signs if len(f"a{sign}b".splitlines()) == 2}
    assert ends == {sign for sign in signs if re.match(f"[{LINE_ENDS}]", sign)}
    for sign in blank:  # behind each of them a heading is one
        assert neutralize(f"a\n{sign}# b") == f"a\n{sign}\\# b"


@given(ordinary)
def test_ordinary_texts_are_written_as_policies_have_learned_them(text: str) -> None:
    # The patterns of the first version, which took quadratic time.
    start = r"(?:^|(?<=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]))"
    assert neutralize(text) == re.sub(start + r"(\s*)(\\*#)", r"\1\\\2", text)
    assert restore(text) == re.sub(start + r"(\s*)\\(\\*#)", r"\1\2", text)
    found = re.search(start + r"\s*#", text)
    kept = before_next_heading(text)
    assert kept.rstrip() == (text[: found.start()].rstrip() if found else text.rstrip())
    assert (kept != text) == (found is not None)


@given(hostile)
def test_restoring_gives_the_text_back(text: str) -> None:
    assert restore(neutralize(text)) == text


@given(hostile, hostile, hostile)
def test_headings_in_an_episode_are_the_templates_own(prompt: str, good: str, bad: str) -> None:
    pairs = [Preference(prompt, good, bad)] * 3
    plain = [Preference("p", "g", "b")] * 3
    for template in TEMPLATES:
        written, expected = blocks(pairs, template), blocks(plain, template)
        assert [headings(b.lead) for b in written] == [headings(b.lead) for b in expected]
        assert not any(headings(b.chosen) or headings(b.rejected) for b in written)


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if NOTHING.sub("", line).startswith("#")]


@given(hostile)
def test_an_answer_ends_where_a_heading_would_begin(text: str) -> None:
    kept = before_next_heading(neutralize(text) + "\n## Dispreferred Response\nno")
    assert kept.rstrip() == neutralize(text).rstrip()


def test_the_paper_layout_is_the_released_one() -> None:
    (block,) = blocks([Preference("q1", "a", "b"), Preference("q2", "c", "d")], "paper")
    start = "# Example 1\n## Question\nq1\n\n## Preferred Response\na\n\n"
    assert block.lead.startswith(start + "## Dispreferred Response\nb\n\n# Task\n")
    assert block.lead.endswith("\n\n## Question\nq2\n\n## Preferred Response\n")
    assert block[1:] == ("c", "d")


def test_in_the_chain_a_question_is_not_written_twice_running() -> None:
    pairs = [Preference("q", "a", "b"), Preference("q", "c", "d"), Preference("r", "e", "f")]
    first, second, third = (block.lead for block in blocks(pairs, "chain"))
    assert first.endswith("## Question\nq\n\n## Preferred Response\n")
    assert second == "\n\n## Preferred Response\n"
    assert third == "\n\n## Question\nr\n\n## Preferred Response\n"
