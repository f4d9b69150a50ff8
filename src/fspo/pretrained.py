"""Reads what others made: configurations, tokenizers, weights, adapters. All of it is data.

Weights are read from safetensors only. Code that comes with a model is never run, nor is anybody
asked whether to run it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fspo.errors import FspoError

ADAPTER = "adapter_model.safetensors"


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
    try:
        return kind.from_pretrained(place, trust_remote_code=False, **settings)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise FspoError(
                f"{what} cannot be loaded: it needs code that comes with it, and fspo never runs "
                "such code. Take a model that the installed transformers knows by itself; a newer "
                "version of it may know this one, too."
            ) from error
        raise FspoError(f"{what} cannot be loaded: {first_line(error)}. {advice}") from error


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


def with_adapter(model: Any, folder: Path, **settings: Any) -> Any:
    """The model with a LoRA adapter of a folder on it.

    Args:
        model: of transformers, or one that has an adapter already, beside which it is put.
        folder: with the adapter.
        settings: further ones of PEFT.

    Raises:
        FspoError: if the folder holds none, or one of another kind, or it does not fit the model.
    """
    from peft import PeftModel

    check_adapter(folder)
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), **settings)
            return model
        return PeftModel.from_pretrained(model, str(folder), **settings)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FspoError(
            f"{folder}: this adapter does not fit the model: {first_line(error)}"
        ) from error


def check_adapter(folder: Path) -> None:
    """Makes sure that a folder holds a LoRA adapter in safetensors.

    Other kinds of adapters tell PEFT to load further things, and with which settings: a tokenizer
    whose code is to be run, say.

    Raises:
        FspoError: saying what it holds instead.
    """
    if not (folder / ADAPTER).is_file():
        raise FspoError(f"{folder}: holds no LoRA adapter ({ADAPTER})")
    path = folder / "adapter_config.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FspoError(f"{path}: this is not what PEFT writes: {first_line(error)}") from error
    if kind != "LORA":
        raise FspoError(f"{folder}: holds an adapter of type {kind}; only LORA is supported")


def first_line(error: BaseException) -> str:
    """What an error says, in a line without a full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")
