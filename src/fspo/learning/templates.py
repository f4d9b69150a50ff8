"""Templates: an episode as text.

A template turns an episode into blocks. A block is what leads up to a preferred response (a
heading, the question, whatever shots stand before it), then that response and the dispreferred
one. `chain` gives a block for each preference, so that a pair is priced after every number of
shots; `paper` is the layout of the paper's released code: all shots in the lead of one target.

Text that a user or a model wrote can never pass for a heading: in it, a `#` at the start of a line
gets a backslash, as in Markdown (and one that has backslashes already gets one more, so that
`restore` is exact). The start of a line may hold white space, and signs that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fspo.errors import FspoError

if TYPE_CHECKING:
    from fspo.preferences.records import Preference

CHAIN = "chain"  # the name of the template that is taken where none is given

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
LINE_ENDS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_SPACES = " \t\x1f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"  # all other white space
# What nobody sees: control and format signs, and what Unicode says to show nothing for.
UNSEEN = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891"
    "\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001345f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Stays within a line, and takes back nothing (`*+`): so a text is read once, however it looks.
_INDENTED = f"(?:^|(?<=[{LINE_ENDS}]))([{_SPACES}{UNSEEN}]*+)"
_HEADING = re.compile(_INDENTED + r"(\\*+#)")
_NEUTRALIZED = re.compile(_INDENTED + r"\\(\\*#)")
_NEXT_HEADING = re.compile(_INDENTED + "#")


class Block(NamedTuple):
    """The text before a preferred response in the chain, and the two responses."""

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
    """Cuts `text`, which a model wrote, where the white space before the next heading begins."""
    found = _NEXT_HEADING.search(text)
    return text[: found.start()].rstrip() if found else text


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


def question_lead(prompt: str) -> str:
    """Returns the text before an answer where other text follows the shots: a question."""
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


class Template(NamedTuple):
    """A way to write an episode.

    Attributes:
        write: preferences to blocks; the last block is that of the last preference.
        chained: whether there is a block for each preference, whose lead depends on the one before
            it alone: then what stands before a question is read once for many questions.
    """

    write: Callable[[Sequence[Preference]], list[Block]]
    chained: bool


TEMPLATES = {CHAIN: Template(chain, chained=True), "paper": Template(paper, chained=False)}


def template_named(name: str) -> Template:
    """Returns the template of that name.

    Raises:
        FspoError: if there is none, with the names that there are.
    """
    if name not in TEMPLATES:
        raise FspoError(f"there is no template {name!r}: use {' or '.join(TEMPLATES)}")
    return TEMPLATES[name]


def blocks(preferences: Sequence[Preference], template: str) -> list[Block]:
    """Writes `preferences` as the blocks of the template of that name.

    Raises:
        FspoError: if there is no such template.
    """
    return template_named(template).write(preferences)
