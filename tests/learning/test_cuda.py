"""Packed trees on a GPU, with the compiled kernel: equal to the same trees on the CPU.

python -m pytest tests/learning/test_cuda.py        (benchmarks/gpu.sh runs it, too)
"""

from __future__ import annotations

import pytest
import torch
from conftest import byte_tokenizer
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from fspo import Episode, EpisodeTree, Preference, completion_logps
from fspo.learning import attention

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

TOKENIZER = byte_tokenizer()
# The kernel takes heads of 16 or more.
SIZE = {
    "vocab_size": len(TOKENIZER), "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZE),
    "mistral": MistralConfig(**SIZE, head_dim=16, sliding_window=200),
}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("users", [1, 3])
def test_values_and_gradients_are_those_of_the_cpu(family: str, users: int) -> None:
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.float32).eval()
    adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(plain, adapter)
    trees = [
        EpisodeTree.from_episode(
            Episode(f"u{n}", [Preference(f"q{k}", "yes " * (5 + n), "no " * (k + 1))
                              for k in range(4 + n)]),
            TOKENIZER,
        )
        for n in range(users)
    ]  # fmt: skip
    found = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        assert attention.packs(plain) == (device == "cuda")
        pairs = completion_logps(model, trees)
        values = torch.cat([torch.cat(pair) for pair in pairs])
        weights = torch.arange(1.0, len(values) + 1, device=device)
        (weights * values).mean().backward()
        gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
        found.append((values.detach().cpu(), gradients))
    (expected, slopes), (values, gradients) = found
    torch.testing.assert_close(values, expected, atol=2e-2, rtol=1e-3)  # TF32 in the kernel
    for name, slope in slopes.items():
        scale = max(1.0, slope.abs().max().item())
        torch.testing.assert_close(gradients[name], slope, atol=2e-2 * scale, rtol=0)
