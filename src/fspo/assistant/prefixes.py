"""Keeps what a model read of people's prefixes, so that a known person is answered at once.

A prefix is token ids with the keys and values that the model computed for them. Each profile has
one of its own, even where two say the same: nobody's answer comes sooner for what another one did.
What was used least recently goes first, once all of them take more memory than they may.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prefix:
    """Token ids with what a model computed for them; nothing of it is ever written to.

    Attributes:
        tokens: the token ids.
        layers: of each layer the keys and the values, each (1, heads, len(tokens), width).
    """

    tokens: Sequence[int]
    layers: Sequence[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, cache: Any, tokens: Sequence[int]) -> Prefix:
        """Returns what `cache` holds now, of `roomy_cache`'s kind; it may grow on behind it."""
        return cls(list(tokens), [(layer.keys, layer.values) for layer in cache.layers])

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, the room behind it included that its tensors have."""
        return sum(t.untyped_storage().nbytes() for pair in self.layers for t in pair)

    def shared(self, tokens: Sequence[int]) -> int:
        """Returns how many token ids it and `tokens` have in common at the front."""
        return common(self.tokens, tokens)

    def cache(self, config: Any, length: int) -> Any:
        """A cache for a model of `config` that has read the first `length` tokens.

        It begins with no room to grow, so what it reads next goes into tensors of its own.
        """
        from fspo.llm.cache import roomy_cache

        cache = roomy_cache(config)
        for layer, (keys, values) in zip(cache.layers, self.layers, strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys = layer.key_buffer = keys[:, :, :length]
            layer.values = layer.value_buffer = values[:, :, :length]
        return cache


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns how many items two sequences have in common at the front."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Prefixes:
    """The prefixes that are kept, by profile; several threads may use it at once."""

    def __init__(self, limit: int) -> None:
        """It starts empty.

        Args:
            limit: bytes that all prefixes together may take.
        """
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, Prefix] = OrderedDict()  # least recently used first
        self._forgotten = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes that the prefixes take now."""
        return self._size

    def find(self, key: str) -> tuple[Prefix | None, int]:
        """Returns what is kept for `key`, and a ticket to `keep` what is read from here on."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key), self._forgotten

    def keep(self, key: str, prefix: Prefix, ticket: int) -> bool:
        """Keeps a prefix in the place of the one before, and lets go of what no longer fits.

        Returns:
            Whether it is kept: one that is larger than the limit is not, nor is any that was begun
            before something was forgotten, as it could be what was to be forgotten.
        """
        with self._lock:
            if prefix.size > self._limit or ticket != self._forgotten:
                return False
            self._drop(key)
            self._kept[key] = prefix
            self._size += prefix.size
            while self._size > self._limit:
                self._drop(next(iter(self._kept)))
            return True

    def forget(self, key: str) -> None:
        """Drops what is kept for `key`, and what is being read for it at this moment."""
        with self._lock:
            self._drop(key)
            self._forgotten += 1

    def _drop(self, key: str) -> None:
        if key in self._kept:
            self._size -= self._kept.pop(key).size
