"""Takes off what a model wrote down while it was thinking, so that the answer is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# How models mark it: what begins it and what ends it.
_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
_SPACE = re.compile(r"\s*")
_ANSWER = re.compile(r"(<\|start\|>assistant)?<\|channel\|>final<\|message\|>")


def without_thinking(text: str) -> str:
    """Returns what a model answered, without what it thought before; "" if it came no further.

    Only what a text begins with is taken for thinking, up to the mark that ends it; many chat
    templates write the beginning themselves, so that the reply holds the end alone.
    """
    start = thought = 0
    while True:
        start = _behind_space(text, start)
        marks = next((own for own in _MARKS if text.startswith(own[0], start)), None)
        if marks is None:
            break
        end = text.find(marks[1], start)
        if end < 0:
            return ""
        start = thought = end + len(marks[1])
    if not thought:
        for begins, ends in _MARKS[:-1]:
            end = text.find(ends)
            if end >= 0 and text.find(begins, 0, end) < 0:
                thought = end + len(ends)
                break
    final = _ANSWER.match(text, _behind_space(text, thought))
    if final:
        thought = final.end()
    return text[_behind_space(text, thought) :] if thought else text


def spoken(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of an answer as they come, without what the model thought before.

    What it thought has to begin with a mark: without one, an answer would have to be held back to
    its end.
    """
    pieces = iter(pieces)
    lead: list[str] = []  # white space that an answer may begin with, if no thought came before
    held, ends = "", ""  # what is not decided yet; what ends the thinking that we are in
    for piece in pieces:
        held += piece
        while True:
            if ends:
                _, over, behind = held.partition(ends)
                if not over:
                    held = held[-len(ends) :]
                    break
                held, ends, lead = behind, "", [""]
            begin = _behind_space(held, 0)
            lead += [held[:begin]] if lead != [""] else []
            held = held[begin:]
            ends = next((end for mark, end in _MARKS if held.startswith(mark)), "")
            if ends:
                continue
            if any(mark.startswith(held) for mark, _ in _MARKS):  # open, so far as it is there
                break
            yield "".join(lead) + held
            yield from pieces
            return
    if not ends and (rest := "".join(lead) + held):
        yield rest


def _behind_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
