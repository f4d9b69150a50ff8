"""Reads what others made: configurations, tokenizers, weights, adapters. All of it is data.

Weights are read from safetensors only. Code that comes with a model is never run, nor is anybody
asked whether to run it. Whatever goes wrong while something is read becomes one line that says
what to do; what is read in part is refused.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.letters import start_of
from fspo.model_files import TEXTS, files_of, is_pointer, no_pointer, reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

ADAPTER = "adapter_model.safetensors"

_PLAIN_INITS = {True, False, None, "gaussian", "orthogonal", "eva", "lora_ga"}
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


def from_pretrained(kind: Any, place: str, what: str, advice: str, **settings: Any) -> Any:
    """Reads one thing by one of transformers' classes: the one place that does.

    Args:
        kind: such as `transformers.AutoConfig`.
        place: a folder, or a Hugging Face id.
        what: is being loaded, for messages, such as "model './mine'".
        advice: what to give instead, as whole sentences.
        settings: further ones of `kind.from_pretrained`.

    Raises:
        FspoError: if it cannot be loaded, or not without running code that comes with it.
    """
    fault = f"{what} cannot be loaded"
    with reading(fault, Path(place), advice):
        for path in files_of(Path(place)):  # some of these are left out in silence if they are odd
            if path.suffix in TEXTS and is_pointer(path):
                raise FspoError(f"{fault}: {no_pointer(path)}")
        return kind.from_pretrained(place, trust_remote_code=False, **settings)


def read_config(place: str, what: str, advice: str) -> Any:
    """A model's configuration; arguments and faults are as in `from_pretrained`.

    How attention is computed is for us to choose: a configuration could name a repository of
    compiled code for it.
    """
    from transformers import AutoConfig

    config = from_pretrained(AutoConfig, place, what, advice)
    parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    if {getattr(part, "_attn_implementation", None) for part in parts} - {None, "eager", "sdpa"}:
        config._attn_implementation = None  # of its parts, too: transformers' own choice
    return config


def read_tokenizer(config: Any, place: str, what: str, advice: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer, whose `model_max_length` is no more than the positions that it has.

    Args:
        config: the model's.
        place: as in `from_pretrained`.
        what: as in `from_pretrained`.
        advice: as in `from_pretrained`.

    Raises:
        FspoError: if it cannot be loaded, or has tokens that the model does not know.
    """
    from transformers import AutoTokenizer

    tokenizer = from_pretrained(AutoTokenizer, place, what, advice)
    with reading(f"{what} cannot be loaded", Path(place), advice):
        text_config = config.get_text_config()
        positions = getattr(text_config, "max_position_embeddings", None)
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions or sys.maxsize)
        rows = getattr(text_config, "vocab_size", None) or sys.maxsize
        beyond = {t: number for t, number in _tokens_used(tokenizer).items() if number >= rows}
    if beyond:
        token, number = min(beyond.items(), key=lambda item: item[1])
        raise FspoError(
            f"{what}: its tokenizer's token {token!r} has the number {number}, and the model knows "
            f"only {rows} tokens, from 0 on. Take the tokenizer that belongs to this model, or "
            "resize the model's embeddings to its tokenizer."
        )
    return tokenizer


def _tokens_used(tokenizer: Any) -> dict[str, int]:
    """The tokens that a text, a chat template or the tokenizer itself can make a model read.

    Some models of text (Gemma 3) have a tokenizer that knows images, too; no text makes a marker.
    """
    template = json.dumps(tokenizer.chat_template, ensure_ascii=False)
    named = {getattr(tokenizer, name, None) for name in _NAMED_TOKENS}
    named |= {*tokenizer.convert_ids_to_tokens(start_of(tokenizer))}
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return {
        token: number
        for token, number in tokenizer.get_vocab().items()
        if token not in added or token in named or token in template or not token.strip()
    }


def read_weights(kind: Any, config: Any, what: str, advice: str) -> Any:
    """A model in evaluation mode, on the GPU where there is one.

    Args:
        kind: such as `transformers.AutoModelForCausalLM`.
        config: of `read_config`.
        what: as in `from_pretrained`.
        advice: as in `from_pretrained`.

    Raises:
        FspoError: if it cannot be loaded, or only in part: a weight that is not there would be
            drawn at random.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given: dict[str, Any] = {"config": config, "dtype": usual_dtype(), "use_safetensors": True}
    given |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if method := _quantization(config):
        what = f"{what}, whose weights are quantized with {method},"
        advice = "Or give a model whose weights are not quantized."
        given["device_map"] = {"": device}  # such weights cannot be moved later
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would report of weights is looked at below
    try:
        model, found = from_pretrained(kind, config.name_or_path, what, advice, **given)
    finally:
        logging.set_verbosity(verbosity)
    faults = [f"{name!r} is missing" for name in sorted(found["missing_keys"])]
    faults += [
        f"{name!r} has the shape {tuple(there)}, and not {tuple(here)}"
        for name, there, here in sorted(found["mismatched_keys"])
    ]
    if faults:
        raise FspoError(
            f"{what} cannot be loaded: its weights are incomplete, or of another model than its "
            f"config.json: {faults[0]}{_and_more(faults)}. {advice}"
        )
    return (model if method else model.to(device)).eval()


def usual_dtype() -> torch.dtype:
    """Returns the dtype to load weights in here: bfloat16 on a GPU that has it, or float32."""
    import torch

    short = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if short else torch.float32


def _quantization(config: Any) -> str:
    """The format of a model's quantized weights, such as "gptq"; "" if they are not quantized."""
    told = getattr(config, "quantization_config", None)
    if not told:
        return ""
    told = told if isinstance(told, dict) else vars(told)
    method = told.get("quant_method") or "an unnamed method"
    return str(getattr(method, "value", method))


def with_adapter(model: Any, folder: Path, **settings: Any) -> Any:
    """The model with a LoRA adapter of a folder on it.

    Args:
        model: of transformers, or one that has an adapter already, beside which it is put.
        folder: with the adapter.
        settings: further ones of PEFT.

    Raises:
        FspoError: if the folder holds none, or one of another kind, or it does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    check_adapter(folder)
    with (
        reading(f"{folder}: this adapter does not fit the model", folder, "Take its own model."),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # which we look for, too
        with safe_open(folder / ADAPTER, "pt") as file:
            there, unchanged = set(file.keys()), _unchanged(model, file)
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), **settings)
        else:
            model = PeftModel.from_pretrained(model, str(folder), **settings)
        name = settings.get("adapter_name", "default")
        own = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        apart = sorted({*(own.keys() - there), *(there - own.keys() - unchanged)})
    if apart:
        fault = "is missing" if apart[0] in own else "has no place in it"
        raise FspoError(
            f"{folder}: this adapter does not fit the model: its weight {apart[0]!r} {fault}"
            f"{_and_more(apart)}. Take its own model."
        )
    return model


def _unchanged(model: Any, file: Any) -> set[str]:
    """The names of the model's own embeddings in an adapter's file, into which PEFT puts some."""
    import torch

    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    own = [module.weight for module in modules if module is not None]
    names = [name for name in file.keys() if "lora_" not in name]  # noqa: SIM118 (no mapping)
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return {
        name
        for name in names
        for weight in own
        if shapes[name] == tuple(weight.shape)
        and torch.equal(file.get_tensor(name).to(weight), weight)
    }


def check_adapter(folder: Path) -> None:
    """Makes sure that a folder holds a LoRA adapter in safetensors, which can be switched off.

    Other kinds of adapters tell PEFT to load further things, and with which settings: a tokenizer
    whose code is to be run, say. Some LoRA adapters change the model's own weights, so that the
    model without them is not what it was.

    Raises:
        FspoError: saying what it holds instead.
    """
    if not (folder / ADAPTER).is_file():
        raise FspoError(f"{folder}: holds no LoRA adapter ({ADAPTER})")
    path = folder / "adapter_config.json"
    with reading(f"{path}: this is not what PEFT writes", folder, "Take another adapter."):
        told = json.loads(path.read_text(encoding="utf-8"))
        kind = told["peft_type"]
        odd = {name: told.get(name) for name in ("alora_invocation_tokens", "arrow_config",
               "layer_replication", "megatron_config") if told.get(name)}  # fmt: skip
        if (bias := told.get("bias") or "none") != "none":
            odd["bias"] = bias
        if (init := told.get("init_lora_weights", True)) not in _PLAIN_INITS:
            odd["init_lora_weights"] = init
    if kind != "LORA":
        raise FspoError(f"{folder}: holds an adapter of type {kind}; only LORA is supported")
    for name, value in odd.items():
        raise FspoError(
            f"{folder}: this adapter has {name}: {value}, and such adapters change more than they "
            "add, so that nothing could be measured against the model without them. Take a plain "
            "LoRA adapter."
        )


def _and_more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
