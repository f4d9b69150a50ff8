"""Renders a model's chat template, which is somebody's program, for so long and no longer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SECONDS = 10.0  # a template takes some milliseconds


def rendered(
    tokenizer: PreTrainedTokenizerBase, conversation: Sequence[Mapping[str, str]], answered: bool
) -> str:
    """The conversation in the model's own format.

    Args:
        tokenizer: has a chat template.
        conversation: messages with `role` and `content`.
        answered: whether it is whole; else the model's answer is to follow.

    Raises:
        FspoError: if the template does not come to an end.
    """
    with _ending(tokenizer.name_or_path):
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in conversation],
            tokenize=False,
            add_generation_prompt=not answered,
        )
    return text


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
