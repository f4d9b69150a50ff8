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

_VERDICTS = "_fspo_shares"  # where a model keeps what was found, by the number of layers


@contextmanager
def lower_layers_once(model: Any) -> Iterator[None]:
    """Inside, only the first forward pass runs the layers below the first one with an adapter.

    Every further pass must read the same trees; it starts from what these layers gave then.

    Args:
        model: a PeftModel around a transformers decoder.
    """
    lower = _without_adapter(model)
    if not lower or not _carry_all(model, lower):
        yield
        return
    with _run_once(lower):
        yield


@contextmanager
def _run_once(lower: list[Any]) -> Iterator[None]:
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


def _carry_all(model: Any, lower: list[Any]) -> bool:
    """Returns whether the lower layers' output is all that the upper ones read of them; found once.

    Some models hand on more than hidden states, such as keys and values.
    """
    import torch

    from fspo.learning.exactness import (
        at_rest,
        difference,
        is_fake,
        reads_paths,
        small_trees,
        tolerance,
    )
    from fspo.learning.scoring import read_rows

    causal = model.get_base_model()
    if reads_paths(model):
        return False  # every path is another pass
    found: dict[int, bool] = vars(causal).setdefault(_VERDICTS, {})
    if len(lower) not in found and not is_fake(causal):
        try:
            with torch.no_grad(), at_rest(model), _run_once(lower):
                trees = small_trees(causal)
                one, other = (read_rows(causal, trees, False).hidden for _ in range(2))
            found[len(lower)] = difference(one, other) <= tolerance(causal)
        except Exception:  # the upper layers may miss anything
            found[len(lower)] = False
    return found.get(len(lower), True)


def _without_adapter(model: Any) -> list[Any]:
    """The layers at the bottom of the model that hold no part of any adapter, nor what is below.

    None where the layers cannot be told.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper  # modules and tokens that learn
    from torch import nn

    from fspo.learning.scoring import decoder_of

    def adapted(module: nn.Module) -> bool:
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        return any(isinstance(m, kinds) for m in module.modules())

    causal = model.get_base_model()
    if adapted(causal.get_input_embeddings()):
        return []
    depth = causal.config.get_text_config().num_hidden_layers
    layers: list[Any] = next(
        (
            list(part)
            for part in decoder_of(causal).modules()
            if isinstance(part, nn.ModuleList) and len(part) == depth
        ),
        [],
    )
    return list(takewhile(lambda layer: not adapted(layer), layers))
