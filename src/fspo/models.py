"""Loads a policy: the embedded default, a Hugging Face id, a path, with or without an adapter.

Weights are read from safetensors only, and code that comes with a model is never run, nor is
anybody asked whether to run it (`pretrained.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fspo import pretrained
from fspo.embedded import EMBEDDED, embedded_model
from fspo.errors import FspoError
from fspo.places import base_of
from fspo.pretrained import read_tokenizer, read_weights, usual_dtype, with_adapter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_ADVICE = (
    f"Give {EMBEDDED!r}, a folder with config.json, tokenizer and safetensors weights, or a "
    "Hugging Face id that this machine can reach."
)


def load_model(
    name: str = EMBEDDED, adapter: str | Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a causal language model and its tokenizer.

    Args:
        name: `smollm2-135m-instruct` (embedded), a Hugging Face id, or a folder. A folder that
            holds a LoRA adapter is loaded on the base model that it names.
        adapter: a folder with a LoRA adapter to put on top of `name`.

    Returns:
        The model, in evaluation mode, and its tokenizer. On a GPU that has it the dtype is
        bfloat16; on a CPU it is float32, so that every CPU gives the same results (bfloat16 is
        emulated on most of them, and crawls). The tokenizer's `model_max_length` is never more
        than the positions that the model has.

    Raises:
        FspoError: if there is no such model, it has no safetensors weights, it cannot be fetched,
            or its log-probs are not those of its own forward pass.
    """
    from transformers import AutoModelForCausalLM

    from fspo.learning.exactness import check_loaded

    folder = Path(name)
    if adapter is None and (folder / "adapter_config.json").is_file():
        name, adapter = base_of(folder), folder
    config, tokenizer, _ = read_config(name)
    model = read_weights(AutoModelForCausalLM, config, f"model {name!r}", _ADVICE)
    check_loaded(model, name)
    if adapter is not None:
        model = with_adapter(model, Path(adapter)).eval()
    return model, tokenizer


def read_config(name: str) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase, torch.dtype]:
    """Returns what is known of a model without its weights.

    Args:
        name: as `load_model` takes it, without an adapter.

    Returns:
        The configuration, whose `name_or_path` is where the weights are; the tokenizer; the dtype
        that the model is loaded in on this machine.

    Raises:
        FspoError: as `load_model`.
    """
    place, what = str(embedded_model()) if name == EMBEDDED else name, f"model {name!r}"
    config = pretrained.read_config(place, what, _ADVICE)
    tokenizer = read_tokenizer(config, place, what, _ADVICE)
    if tokenizer.eos_token_id is None:
        raise FspoError(f"{what}: its tokenizer names no end-of-text token")
    return config, tokenizer, usual_dtype()
