"""No text of a user's can pass for a heading of the template, and none is lost."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference
from fspo.learning.templates import TEMPLATES, before_next_heading, blocks, neutralize, restore

HEADINGS = ["# Task", "## Question", "## Preferred Response", "## Dispreferred Response"]
breaks = st.sampled_from(["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
pieces = st.sampled_from([*HEADINGS, "\\#", "\\\\## Question", " ## Question", "\t#", "#"])
hostile = st.lists(breaks | pieces | st.text(max_size=5)).map("".join)


@given(hostile)
def test_no_line_of_a_neutralized_text_starts_like_a_heading(text: str) -> None:
    assert not any(line.lstrip().startswith("#") for line in neutralize(text).splitlines())


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
    return [line for line in text.splitlines() if re.match(r"\s*#", line)]


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
