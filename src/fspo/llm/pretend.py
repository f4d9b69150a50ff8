"""A stand-in for a language model that answers at once, from the content of each request.

With it a run can be looked at before anything is spent, and the cost of everything but the model
can be measured. It writes words, not sense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fspo.llm.requests import Reply, Request

_TEXT = (
    "bread river lamp stone garden window letter paper morning music copper harbor ladder orange "
    "pocket silver thunder velvet winter yellow anchor basket candle desert engine feather"
)
_WORDS = _TEXT.split()
_AT_ONCE = 500
_WIDTH = 32


class Pretend:
    """Answers every request at once, the same request always in the same way."""

    name = "pretend"

    def __init__(self, seen: Callable[[Request], None] = lambda request: None) -> None:
        """`seen` is told of every request."""
        self._seen = seen

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields words, or one of the choices with its probability."""
        for start in range(0, len(requests), _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, len(requests)))
            yield [(place, self._reply(requests[place])) for place in places]

    def _reply(self, request: Request) -> Reply:
        self._seen(request)
        key = request.key(self.name)
        if request.choices:
            share = (1 + key[0]) / 258
            likeliest = request.choices[0 if share > 0.5 else 1]
            return Reply(likeliest, self.name, 1, 1, (share, 1 - share))
        words = [_WORDS[byte % len(_WORDS)] for byte in key]
        end = "?" if request.purpose == "questions" else "."
        text = f"They like {' '.join(words[:9])} and {' '.join(words[9:])}{end}"
        return Reply(text, self.name, 1, len(words))


def pretend_embedder(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of length 1 that depend on nothing but the texts: different ones are unlike."""
    rows = np.zeros((len(texts), _WIDTH), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[:] = np.random.default_rng(list(text.encode())).standard_normal(_WIDTH)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)
