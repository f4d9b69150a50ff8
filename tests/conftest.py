"""Small models and tokenizers with random weights, made on the spot: nothing is downloaded."""

from __future__ import annotations

import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    Gemma2Config,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with a token for every byte, and three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0, "<|start|>": 1, "<|pad|>": 2}
    vocabulary |= {letter: 3 + index for index, letter in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        bos_token="<|start|>",
        pad_token="<|pad|>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


SIZE = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 2,
    "initializer_range": 0.2,  # large enough that log-probs differ by far more than rounding
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZE, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SIZE, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=8),
    "gemma": GemmaConfig(**SIZE, num_key_value_heads=1, head_dim=8),
    "gemma2": Gemma2Config(**SIZE, num_key_value_heads=2, head_dim=8, sliding_window=40),
    "gpt_neox": GPTNeoXConfig(**SIZE),
    "mistral": MistralConfig(**SIZE, num_key_value_heads=2, head_dim=8, sliding_window=40),
    # Its values are narrower than its keys; its layers are dense ones.
    "deepseek2": DeepseekV2Config(
        **SIZE,
        num_key_value_heads=4,
        first_k_dense_replace=2,
        kv_lora_rank=8,
        q_lora_rank=None,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=8,
    ),
}


def small_model(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = copy.deepcopy(FAMILIES[family])  # a model changes its own
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return byte_tokenizer()


@pytest.fixture
def model() -> PreTrainedModel:
    return small_model()
