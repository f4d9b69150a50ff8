"""Renders a chat template, which is somebody's program: in a form that it takes, not for ever."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import FrameType
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError, first_line
from fspo.letters import letters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLOT = re.compile("\ue000([0-9]+)\ue001")  # where the text of a message goes, by its number
_SECONDS = 10.0  # a template takes some milliseconds


def rendered(
    tokenizer: PreTrainedTokenizerBase, conversation: Sequence[Mapping[str, str]], answered: bool
) -> str:
    """Returns a conversation in the model's own format.

    Args:
        tokenizer: has a chat template.
        conversation: messages with `role` and `content`.
        answered: whether it is whole; else the model's answer is to follow.

    Raises:
        FspoError: if the template does not take it, or does not come to an end.
    """
    try:
        with _ending(tokenizer.name_or_path):
            return str(
                tokenizer.apply_chat_template(
                    [dict(message) for message in conversation],
                    tokenize=False,
                    add_generation_prompt=not answered,
                )
            )
    except FspoError:
        raise
    except Exception as error:  # a template raises what it likes
        raise _NotTakenError(
            tokenizer, [message["role"] for message in conversation], first_line(error)
        ) from error


def slot(number: int) -> str:
    """Returns what stands in a template for a text, by the text's number."""
    return f"\ue000{number}\ue001"


def rendered_slots(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> str:
    """Returns the template around a slot (see `SLOT`) for each message, the answer to follow.

    A template may know no system role, want roles to alternate, or leave a message out in silence.
    Then messages of one role are one, and what is said to the system stands before what the user
    says next.

    Args:
        tokenizer: has a chat template.
        roles: of the messages, in order.

    Raises:
        FspoError: if the template takes no such form, or does not come to an end.
    """
    said = [(role, slot(number)) for number, role in enumerate(roles)]
    as_user = [("user" if role == "system" else role, place) for role, place in said]
    fault: _NotTakenError | None = None
    for form in (said, _merged(said), _merged(as_user)):
        messages = [{"role": role, "content": content} for role, content in form]
        try:
            text = rendered(tokenizer, messages, answered=False)
        except _NotTakenError as error:
            fault = fault or error
            continue
        if {int(number) for number in SLOT.findall(text)} == set(range(len(roles))):
            return text
    raise fault or _NotTakenError(tokenizer, roles, "it leaves a message out")


def filled(tokenizer: PreTrainedTokenizerBase, template: str, contents: Sequence[str]) -> list[int]:
    """Returns the token ids of a template around slots, with texts in them, read as letters.

    Args:
        tokenizer: finds its markers in the template, and nowhere else.
        template: with a `slot` for each text.
        contents: the texts, by their numbers.
    """
    read = letters(tokenizer, contents)
    tokens: list[int] = []
    for place, piece in enumerate(SLOT.split(template)):
        if place % 2:
            tokens += read[int(piece)]
        else:
            tokens += tokenizer(
                piece, add_special_tokens=False, split_special_tokens=False
            ).input_ids
    return tokens


class _NotTakenError(FspoError):
    """A conversation that a chat template does not take."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, roles: Sequence[str], reason: str
    ) -> None:
        super().__init__(
            f"model {tokenizer.name_or_path!r}: its chat template does not take a conversation of "
            f"{', '.join(roles)} ({reason}). Take another model, or mend its chat template."
        )


def _merged(said: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(role, text) each, with those of one role that follow each other as one."""
    return [
        (role, "\n\n".join(text for _, text in own))
        for role, own in groupby(said, key=lambda one: one[0])
    ]


@contextmanager
def _ending(name: str) -> Iterator[None]:
    """Raises FspoError inside, at the template's next line, when its time is over."""
    end = time.monotonic() + _SECONDS

    def trace(frame: FrameType, _: str, __: Any) -> Any:
        if time.monotonic() > end:
            raise FspoError(
                f"model {name!r}: its chat template does not come to an end within "
                f"{_SECONDS:.0f} s; take another model, or mend chat_template.jinja"
            )
        # Lines of a template are looked at, and of what it calls only that it is called.
        return trace if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
