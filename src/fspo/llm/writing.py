"""Finds how a model reads conversations when it writes: in batches, or one by one.

A batch is padded, and what its conversations begin with is read once. Layers that carry on what
they have read in other ways than by attention take no padding, and some models count positions in
a way of their own. Which way gives what the model's own forward pass gives is found by numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BATCH = "batch"
ALONE = "alone"  # one by one
ANEW = "anew"  # one by one, and all of it again for every token

_WAY = "_fspo_writing"  # where a model keeps what was found
_PROMPTS = [[[3, 4, 5, 6, 7, 8], [3, 4, 5, 9, 10]], [[6, 5, 4]]]  # token ids, in groups
_WRITTEN = [5, 6, 7]  # behind each of them


def way_of(model: Any) -> str:
    """Returns how a model reads when it writes; found out when first asked."""
    from fspo.learning.scoring import causal_model

    causal = causal_model(model)
    if not hasattr(causal, _WAY):
        keep_way(causal, _found(causal))
    return str(getattr(causal, _WAY))


def keep_way(causal: Any, way: str) -> None:
    """Notes how a model reads when it writes."""
    setattr(causal, _WAY, way)


class Alone:
    """One conversation, in which a model reads on."""

    def __init__(self, model: Any, way: str) -> None:
        """Has read nothing.

        Args:
            model: a causal language model of transformers, with or without an adapter.
            way: `ALONE` or `ANEW`.
        """
        import inspect

        from transformers import DynamicCache

        from fspo.learning.scoring import causal_model

        self._model = model
        self._before: list[int] = []
        self._given: dict[str, Any] = {"use_cache": False}
        self._anew = way == ANEW
        if not self._anew:
            causal = causal_model(model)
            taken = inspect.signature(causal.forward).parameters
            name = "cache_params" if "cache_params" in taken else "past_key_values"
            self._given = {name: DynamicCache(config=causal.config), "use_cache": True}

    def read(self, tokens: Sequence[int]) -> Tensor:
        """Reads on; float (1, vocabulary): the logits behind the last of `tokens`."""
        import torch

        if self._anew:
            self._before += tokens
            tokens = self._before
        ids = torch.tensor([list(tokens)], device=self._model.device)
        logits: Tensor = self._model(input_ids=ids, **self._given).logits[:, -1]
        return logits


def _found(causal: Any) -> str:
    """The first way that gives what the model's own forward pass gives."""
    import torch

    from fspo.learning.exactness import at_rest, difference, tolerance

    ways: dict[str, Callable[[Any], Tensor]] = {ALONE: _one_by_one}
    if not _has_hidden_window(causal.config):
        ways = {BATCH: _in_batch, **ways}
    with torch.no_grad(), at_rest(causal):
        expected = _own(causal)
        for way, read in ways.items():
            try:
                found = read(causal).float().log_softmax(-1)
                if difference(found, expected) <= tolerance(causal):
                    return way
            except Exception:  # a model may fail at anything that it does not take
                continue
    return ANEW


def _has_hidden_window(config: Any) -> bool:
    """Returns whether layers see only a window of the text, of which their cache knows nothing.

    A window counts places, and padding takes some; a short text does not show it.
    """
    from fspo.learning.exactness import windows
    from fspo.llm.cache import roomy_cache

    told = windows(config)
    return bool(told) and not any(
        getattr(layer, "is_sliding", False) for layer in roomy_cache(config).layers
    )


def _own(causal: Any) -> Tensor:
    """Log-probs behind the prompts and behind one token more, float32 (rows, 2, vocabulary)."""
    import torch

    found = []
    for row, token in zip(_rows(), _WRITTEN, strict=True):
        ids = torch.tensor([[*row, token]], device=causal.device)
        found.append(causal(input_ids=ids, use_cache=False).logits[0, -2:])
    return torch.stack(found).float().log_softmax(-1)


def _in_batch(causal: Any) -> Tensor:
    """The same as logits, as `LocalModel` reads a batch."""
    import torch

    from fspo.llm.local import LocalModel

    local = LocalModel(causal, None)
    first, cache, mask = local.read(_PROMPTS)
    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    written = torch.tensor(_WRITTEN, device=causal.device)[:, None]
    return torch.stack([first, local.forward(written, mask, cache)], 1)


def _one_by_one(causal: Any) -> Tensor:
    import torch

    found = []
    for row, token in zip(_rows(), _WRITTEN, strict=True):
        reading = Alone(causal, ALONE)
        found.append(torch.cat([reading.read(row), reading.read([token])]))
    return torch.stack(found)


def _rows() -> list[list[int]]:
    return [row for group in _PROMPTS for row in group]
