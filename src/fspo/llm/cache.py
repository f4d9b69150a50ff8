"""A cache of keys and values that has room to grow.

transformers' own cache copies all that it holds for every new token; on a CPU that took more than
half of the time of generation. Here a token is written behind the others, and a copy is made only
when the room is used up or rows have left the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 128  # tokens


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values: the part in use of buffers that are longer."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Starts with nothing held, when it is known of what shape."""
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.key_buffer, self.value_buffer = self.keys, self.values

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds the newest tokens' keys and values, and returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.key_buffer, self.keys = _append(self.key_buffer, self.keys, key_states)
        self.value_buffer, self.values = _append(self.value_buffer, self.values, value_states)
        return self.keys, self.values


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers that see only a window keep their own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(ly) is DynamicLayer else ly for ly in cache.layers]
    return cache


def joined(config: Any, caches: Sequence[DynamicCache], repeats: Sequence[int]) -> DynamicCache:
    """One cache with the single row of each of `caches` so many times, padded on the left.

    Without `caches`, it is empty.
    """
    whole = roomy_cache(config)
    for index, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        keys, values = ([getattr(ly, name) for ly in layers] for name in ("keys", "values"))
        whole.update(_stacked(keys, repeats), _stacked(values, repeats), index)
    return whole


def _stacked(rows: Sequence[torch.Tensor], repeats: Sequence[int]) -> torch.Tensor:
    width = max(row.shape[2] for row in rows)
    return torch.cat(
        [
            pad(row, (0, 0, width - row.shape[2], 0)).expand(count, -1, -1, -1)
            for row, count in zip(rows, repeats, strict=True)
        ]
    )


def _append(
    buffer: torch.Tensor, held: torch.Tensor, new: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the buffer, the part of it in use), with `new` behind `held`."""
    before, after = held.shape[2], held.shape[2] + new.shape[2]
    # Rows that left, or were repeated, made `held` a tensor of its own.
    if after > buffer.shape[2] or held.data_ptr() != buffer.data_ptr():
        buffer = new.new_empty(*new.shape[:2], after + ROOM, new.shape[3])
        buffer[:, :, :before] = held
    buffer[:, :, before:after] = new
    return buffer, buffer[:, :, :after]
