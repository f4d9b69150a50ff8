"""Names what is wrong with the files of a model that cannot be read, in one line.

Files are cut off, are pointers of Git LFS, hold other types than they should; libraries are
missing. What is raised then is as varied as the libraries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fspo.errors import FspoError, cut, first_line
from fspo.known_faults import is_full, is_out_of_memory

_POINTER = b"version https://git-lfs.github.com/spec/"
TEXTS = {".json", ".jinja", ".model", ".txt"}
_SETTINGS = re.compile(
    r"(adapter_|generation_|tokenizer_)?config\.json|(tokenizer|vocab|added_tokens)\.json|"
    r"special_tokens_map\.json|.*\.index\.json"
)


@contextmanager
def reading(fault: str, folder: Path, advice: str) -> Iterator[None]:
    """Turns whatever is raised inside into one line about what is read.

    Args:
        fault: how it begins.
        folder: where the files are; nothing, if they come from elsewhere.
        advice: how it ends.

    Raises:
        FspoError: for all but a lack of memory or disk, which have nothing to do with the files.
    """
    try:
        yield
    except FspoError:
        raise
    except Exception as error:
        if is_full(error) or is_out_of_memory(error):
            raise
        raise FspoError(f"{fault}: {_reason(error, folder, advice)}") from error


def _reason(error: Exception, folder: Path, advice: str) -> str:
    """Returns what is wrong, and what to do, as whole sentences."""
    words = first_line(error)
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    if words.endswith(":") and len(told) > 1:
        words = cut(f"{words} {told[1]}").rstrip(".")
    if not isinstance(error, OSError | ValueError | RuntimeError | ImportError):
        words = f"{type(error).__name__}: {words}"  # such as KeyError, which says the key alone
    if "trust_remote_code" in str(error):
        return (
            "it needs code that comes with it, and fspo never runs such code. Take a model that "
            "the installed transformers knows by itself; a newer version of it may know this one, "
            "too."
        )
    if pointer := next(filter(is_pointer, files_of(folder)), None):
        return no_pointer(pointer)
    if damaged := next((path for path in files_of(folder) if not _is_whole(path)), None):
        return f"{damaged} is damaged or cut off ({words}). Fetch it again. {advice}"
    if isinstance(error, ImportError):
        return f"a library is missing, or does not fit: {words}. Install it. {advice}"
    return f"{words}. {advice}"


def no_pointer(path: Path) -> str:
    """Returns what is wrong with such a file, and what to do."""
    return (
        f"{path} is not the file itself, but a Git LFS pointer to it. Run `git lfs pull` in "
        f"{path.parent}."
    )


def files_of(folder: Path) -> list[Path]:
    """Returns the files in a folder, by name; none, if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_file())


def is_pointer(path: Path) -> bool:
    """Returns whether a file stands for another one that Git LFS has not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _is_whole(path: Path) -> bool:
    """Returns whether a file of weights, or of settings, can be read as what it is."""
    from safetensors import safe_open

    try:
        if _SETTINGS.fullmatch(path.name):
            json.loads(path.read_bytes())
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                pass
    except Exception:
        return False
    return True
