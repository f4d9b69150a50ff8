"""How an episode is written as text.

A template turns an episode into blocks. A block is what leads up to a preferred response (a
heading, the question, whatever shots stand before it), then that response and the dispreferred
one. `chain` gives a block for each preference, so that a pair is priced after every number of
shots; `paper` is the layout of the paper's released code: all shots in the lead of one target.

Text that a user or a model wrote can never pass for a heading: in it, a `#` at the start of a line
gets a backslash, as in Markdown (and one that has backslashes already gets one more, so that
`restore` is exact).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fspo.errors import FspoError
from fspo.preferences.records import Preference

QUESTION = "## Question\n"
PREFERRED = "\n\n## Preferred Response\n"
DISPREFERRED = "\n\n## Dispreferred Response\n"
DESCRIPTION = "\n\n## User Description\n"

_CHAIN_OPENING = (
    "Each question is followed by the response that one person prefers, "
    "and by a response that this person likes less.\n\n"
)
_PAPER_TASK = (
    "# Task\nUse the examples above to learn what this person prefers, and write the preferred "
    "response to the question below.\n\n"
)

# What Python's str.splitlines takes for the end of a line, a reader may, too.
_LINE_START = r"(?:^|(?<=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]))"
_HEADING = re.compile(_LINE_START + r"(\s*)(\\*#)")
_NEUTRALIZED = re.compile(_LINE_START + r"(\s*)\\(\\*#)")
_NEXT_HEADING = re.compile(_LINE_START + r"\s*#")


class Block(NamedTuple):
    """What stands before a preferred response in the chain, and the two responses, as text."""

    lead: str
    chosen: str
    rejected: str


def neutralize(text: str) -> str:
    """Makes sure that no line of `text` looks like a heading."""
    return _HEADING.sub(r"\1\\\2", text)


def restore(text: str) -> str:
    """The text that `neutralize` was given."""
    return _NEUTRALIZED.sub(r"\1\2", text)


def before_next_heading(text: str) -> str:
    """Cuts `text`, which a model wrote, where the template's next heading would begin."""
    found = _NEXT_HEADING.search(text)
    return text[: found.start()] if found else text


def chain(preferences: Sequence[Preference]) -> list[Block]:
    """One block for each preference: its context is all that comes before it in the chain.

    A question that is the one before it over again is not written again: where everybody is asked
    the same, as in a poll, that halves what is to be read.
    """
    return [
        Block(_chain_lead(before, p.prompt), neutralize(p.chosen), neutralize(p.rejected))
        for before, p in zip([None, *(p.prompt for p in preferences)], preferences, strict=False)
    ]


def _chain_lead(before: str | None, prompt: str) -> str:
    if prompt == before:
        return PREFERRED
    opening = _CHAIN_OPENING if before is None else "\n\n"
    return opening + QUESTION + neutralize(prompt) + PREFERRED


def described_lead(prompt: str) -> str:
    """What stands between a user's description, which follows the shots, and an answer (RAT)."""
    return f"\n\n{QUESTION}{neutralize(prompt)}{PREFERRED}"


def paper(preferences: Sequence[Preference]) -> list[Block]:
    """One block: all preferences but the last are examples, the last one is the task."""
    *shots, target = preferences
    examples = [
        f"# Example {number}\n{QUESTION}{neutralize(p.prompt)}{PREFERRED}{neutralize(p.chosen)}"
        f"{DISPREFERRED}{neutralize(p.rejected)}\n\n"
        for number, p in enumerate(shots, 1)
    ]
    lead = "".join(examples) + _PAPER_TASK + QUESTION + neutralize(target.prompt) + PREFERRED
    return [Block(lead, neutralize(target.chosen), neutralize(target.rejected))]


TEMPLATES = {"chain": chain, "paper": paper}


def blocks(preferences: Sequence[Preference], template: str) -> list[Block]:
    """Writes `preferences` as the blocks of the template of that name.

    Raises:
        FspoError: if there is no such template.
    """
    if template not in TEMPLATES:
        raise FspoError(f"there is no template {template!r}: use {' or '.join(TEMPLATES)}")
    return TEMPLATES[template](preferences)
