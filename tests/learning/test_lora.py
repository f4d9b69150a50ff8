"""Fused LoRA layers, against PEFT's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import nn

from fspo.learning.lora import fuse_adapters


def adapted(**config: object) -> nn.Module:
    """Two layers with an adapter each, whose weights are all drawn."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 4, bias=False))
    asked = LoraConfig(**{"r": 2, "lora_alpha": 6, "target_modules": ["0", "2"]} | config)
    model = inject_adapter_in_model(asked, layers)
    for p in model.parameters():
        nn.init.normal_(p)
    return model


def both(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    fused = copy.deepcopy(model)
    fuse_adapters(fused)
    return model, fused


def outputs_and_gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    out = model(x)
    out.square().sum().backward()
    learned = [p.grad for p in model.parameters() if p.requires_grad]
    return [out, x.grad, *learned]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans())
def test_a_fused_adapter_gives_what_pefts_gives(shape: list[int], rslora: bool) -> None:
    model, fused = both(adapted(use_rslora=rslora).double())
    x = torch.randn(*shape, 6, dtype=torch.float64)
    found = zip(outputs_and_gradients(fused, x), outputs_and_gradients(model, x), strict=True)
    for ours, theirs in found:
        torch.testing.assert_close(ours, theirs)


def test_it_adds_in_one_product() -> None:
    _, fused = both(adapted())
    with torch.profiler.profile() as work:
        fused(torch.randn(3, 6))
    # One for the layer with a bias, and one for each adapter.
    assert sum(event.count for event in work.key_averages() if event.key == "aten::addmm") == 3


def test_within_autocast_it_computes_in_the_lower_precision() -> None:
    model, fused = both(adapted())
    x = torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = fused(x), model(x)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.3)


def test_an_adapter_in_another_precision_than_its_layer_keeps_it() -> None:
    model = adapted()
    for module in model.modules():
        if isinstance(module, Linear):
            module.base_layer.to(torch.bfloat16)
    model, fused = both(model)
    x = torch.randn(3, 6, dtype=torch.bfloat16)
    assert torch.equal(fused(x), model(x))


@pytest.mark.parametrize("other", [{"use_dora": True}, {"lora_bias": True}])
def test_other_kinds_of_adapters_are_left_to_peft(other: dict[str, bool]) -> None:
    model, fused = both(adapted(target_modules=["0"], **other))
    x = torch.randn(3, 6)
    assert torch.equal(fused(x), model(x))


def test_switched_off_or_exchanged_it_is_pefts() -> None:
    model = adapted()
    second = LoraConfig(r=3, lora_alpha=1, target_modules=["0", "2"])
    inject_adapter_in_model(second, model, adapter_name="second")
    model, fused = both(model)
    x = torch.randn(3, 6)
    for change in (
        lambda layer: layer.set_adapter("second"),
        lambda layer: layer.enable_adapters(False),
    ):
        for one in (model, fused):
            for module in one.modules():
                if isinstance(module, Linear):
                    change(module)
        torch.testing.assert_close(fused(x), model(x))
