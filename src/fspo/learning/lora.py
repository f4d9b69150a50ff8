"""LoRA layers that read and write less memory than PEFT's own, for the same numbers.

PEFT scales what comes out of an adapter and adds it to what the frozen layer gave: two passes over
something as wide as the layer, and one more backward. Here the adapter's inner values are scaled,
which are a few numbers for each token, and the matrix product adds to the layer's output itself.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, addmm, nn


def fuse_adapters(model: nn.Module) -> None:
    """Makes every plain LoRA adapter on a linear layer add itself in one product.

    `y = W x + s B A x` as before (Hu et al., arXiv 2106.09685, equation 3), to rounding; weights,
    gradients and what is saved are PEFT's.
    """
    from peft.tuners.lora import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            for name in module.lora_A:
                if not module.lora_bias[name]:
                    module.lora_variant.setdefault(name, _Fused)


class _Fused:
    """The variant that PEFT's layer calls for an adapter that is not of the plain kind."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        inner = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        inner = inner * module.scaling[active_adapter]
        outer = module.lora_B[active_adapter]
        if inner.dtype != result.dtype:  # an adapter in another precision than its layer
            wide: Tensor = result + outer(inner)
            return wide
        weight = outer.weight.to(inner.dtype)  # another one only within autocast
        flat: Tensor = addmm(result.flatten(0, -2), inner.flatten(0, -2), weight.T)
        return flat.view_as(result)
