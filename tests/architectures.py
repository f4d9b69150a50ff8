"""Every causal language model that the installed transformers can build, as small as it gets."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

# What makes a configuration small, wherever it has a field of the name.
SMALL: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 2,
    "head_dim": 8,
    "sliding_window": 12,
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "ffn_dim": 48,
    "shared_expert_intermediate_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "linear_value_head_dim": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_d_ssm": 64,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "n_mamba_heads": 2,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 1024,
    "vocab_size_per_layer_input": 259,
    "hidden_size_per_layer_input": 8,
    "rotary_dim": 8,
    "rotary_pct": 0.5,
    "is_decoder": True,  # else encoders read ahead
    "use_cache": False,
}

# What else a kind of model needs.
ODD: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "original_full"},
    "deepseek_v2": {"first_k_dense_replace": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 12},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "prophetnet": {"num_encoder_layers": 1, "num_decoder_layers": 2},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds": False,
        "attention_head_size": 8,
        "feed_forward_size": 48,
        "num_hashes": 1,
        "num_buckets": 4,
    },
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "zamba2": {"layers_block_type": ["hybrid", "mamba"], "num_mem_blocks": 1},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
# What cannot be built from a small configuration at all, and why.
NOT_BUILT = {
    "blt": "its parts are of fixed sizes, 96 million weights in all",
    "dbrx": "its own configuration of attention lacks a field that it reads",
    "dots3_note": "it names 46 layers one by one",
    "gemma3n": "its part for images needs a library that is not installed",
    "gemma4_assistant": "it drafts for another model, and reads that one's states",
    "gemma4_unified_assistant": "it drafts for another model, and reads that one's states",
    "musicgen": "its causal model is a part that has another configuration",
    "musicgen_melody": "its causal model is a part that has another configuration",
    "xlnet": "it has no limit of length that could be set, and reads both ways",
    "zamba": "its layers share weights by a pattern that two layers do not fit",
}
OWN: dict[str, set[str]] = {  # fields that a kind sets itself
    "falcon": {"head_dim"},
    "xlstm": {"v_head_dim"},
    "prophetnet": {"num_hidden_layers"},
}


def causal_kinds() -> list[str]:
    """The model types that `AutoModelForCausalLM` knows and that can be built."""
    known = {config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING}
    return sorted(known - NOT_BUILT.keys())


def small_config(kind: str) -> PreTrainedConfig:
    """The smallest configuration of a model type."""
    [cls] = {c for c in MODEL_FOR_CAUSAL_LM_MAPPING if c.model_type == kind}
    return cls(**_small(cls))


def _small(cls: type[PreTrainedConfig]) -> dict[str, Any]:
    default = cls()
    told = {name: value for name, value in SMALL.items() if _has(default, name)}
    told |= {n: SMALL[n] for n in ("bos_token_id", "eos_token_id", "pad_token_id") if n in SMALL}
    if "kv_lora_rank" in told:  # keys and values are made for every head
        told["num_key_value_heads"] = told["num_attention_heads"]
    told = {n: value for n, value in told.items() if n not in OWN.get(cls.model_type, ())}
    for name, part in cls.sub_configs.items():
        if part is AutoConfig:
            part = type(getattr(default, name, None))
        if issubclass(part, PreTrainedConfig):
            told[name] = _small(part)
    return told | ODD.get(cls.model_type, {})


def _has(config: PreTrainedConfig, name: str) -> bool:
    try:
        return getattr(config, name, None) is not None
    except RuntimeError:  # it differs between layers
        return False


def small_architecture(kind: str, seed: int = 0) -> PreTrainedModel:
    """A model of that type with weights large enough for each of them to tell."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(small_config(kind), dtype=torch.float32).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.data = torch.randn_like(weight) * 0.1
    return model
