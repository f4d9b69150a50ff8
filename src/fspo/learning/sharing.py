"""Computes once what a policy and its reference have in common.

Below the first layer with an adapter they are the same frozen model and read the same trees, so
their hidden states are the same, too: with an adapter in the upper half of the layers, a quarter of
all forward passes is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def lower_layers_once(model: Any) -> Iterator[None]:
    """Inside, only the first forward pass runs the layers below the first one with an adapter.

    Every further pass must read the same trees; it starts from what these layers gave then.

    Args:
        model: a PeftModel around a transformers decoder.
    """
    lower = _without_adapter(model)
    if not lower:
        yield
        return

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        # Whatever these layers are given from now on, the last one's output is already known.
        for layer in lower:
            layer.forward = lambda *_, **__: output

    hook = lower[-1].register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
        for layer in lower:
            vars(layer).pop("forward", None)


def _without_adapter(model: Any) -> list[Any]:
    """The layers at the bottom of the model that hold no part of any adapter, nor what is below."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper  # modules and tokens that learn

    def adapted(module: nn.Module) -> bool:
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        return any(isinstance(m, kinds) for m in module.modules())

    base = model.get_base_model()
    if adapted(base.get_input_embeddings()):
        return []
    return list(takewhile(lambda layer: not adapted(layer), base.base_model.layers))
