"""Finds the last checkpoint that is whole, by a list of what is in it.

    checkpoint-40/files.json    {"processes": 1, "files": {"optimizer.pt": [9306, 1890345223], ...}}

The list is written last, with each file's size and CRC-32. A checkpoint of an earlier version has
none: it is whole if everything that a run needs is there and can be read.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.files import write_json

CHECKPOINTS = "checkpoints"  # the folder in a run's own
LIST = "files.json"

_NAME = re.compile(r"checkpoint-([0-9]+)")
_STATE = "trainer_state.json"
# What a checkpoint without a list must have, one of each row, as transformers, accelerate and
# DeepSpeed call it.
_NEEDED = {
    "weights": ("*.safetensors", "pytorch_model_fsdp*", "global_step*"),
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
    "scheduler.pt": ("scheduler.pt",),
    "rng_state.pth": ("rng_state*.pth",),
    _STATE: (_STATE,),
}


def seal(checkpoint: Path, processes: int) -> None:
    """Lists a checkpoint's files, all of which are written: from now on any damage is seen."""
    files = {
        str(path.relative_to(checkpoint)): _mark(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != LIST
    }
    write_json(checkpoint / LIST, {"processes": processes, "files": files})


def numbered(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their steps, the oldest first; other names are passed over."""
    named = [(_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*")]
    found = {int(name[1]): path for name, path in named if name and path.is_dir()}
    return dict(sorted(found.items()))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, or None."""
    return next((path for path in reversed(numbered(folder).values()) if not fault(path)), None)


def to_go_on_from(folder: Path, processes: int) -> Path | None:
    """The newest whole checkpoint, or None; says which newer ones are passed over, and why.

    Args:
        folder: with the run's checkpoints.
        processes: how many this run has.

    Raises:
        FspoError: if the checkpoint is of another number of processes, whose steps are others.
    """
    checkpoint = last_checkpoint(folder)
    every = list(numbered(folder).values())
    for path in every[every.index(checkpoint) + 1 :] if checkpoint else every:
        say(f"{path}: passed over, because {fault(path)}")
    if checkpoint is None:
        if every:
            say(f"{folder}: holds no whole checkpoint, so training begins anew")
        return None
    wrote = _processes(checkpoint)
    if wrote != processes:
        raise FspoError(
            f"{checkpoint}: was written by {wrote} processes, and this run has {processes}: each "
            f"step would be of other episodes. Go on with {wrote}, or take another --out."
        )
    return checkpoint


def fault(checkpoint: Path) -> str:
    """Returns what is wrong with a checkpoint, such as "optimizer.pt is damaged"; "" if whole."""
    try:
        if (checkpoint / LIST).exists():
            return _fault_by_list(checkpoint, _read_list(checkpoint))
        return _fault_without_list(checkpoint)
    except OSError as error:
        return f"{Path(str(error.filename)).name} cannot be read: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{LIST} is damaged"


def _fault_by_list(checkpoint: Path, listed: dict[str, Any]) -> str:
    for name, mark in listed["files"].items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != mark[0] or _mark(path) != mark:
            return f"{name} is damaged"
    return "" if _STATE in listed["files"] else f"{_STATE} is missing"


def _fault_without_list(checkpoint: Path) -> str:
    for name, patterns in _NEEDED.items():
        if not any(any(checkpoint.glob(pattern)) for pattern in patterns):
            return f"{name} is missing"
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        if not _readable(path):
            return f"{path.relative_to(checkpoint)} is damaged"
    return ""


def _readable(path: Path) -> bool:
    """Returns whether a file is whole, as far as its kind tells without having seen it before."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                pass
        elif path.suffix in (".pt", ".pth", ".bin"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return True


def _processes(checkpoint: Path) -> int:
    """Returns how many processes wrote a whole checkpoint."""
    if (checkpoint / LIST).exists():
        return int(_read_list(checkpoint)["processes"])
    return len(list(checkpoint.glob("rng_state*.pth")))


def _read_list(checkpoint: Path) -> dict[str, Any]:
    listed = json.loads((checkpoint / LIST).read_text(encoding="utf-8"))
    return {"processes": int(listed["processes"]), "files": dict(listed["files"])}


def _mark(path: Path) -> list[int]:
    """A file's size and CRC-32."""
    size = crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
    return [size, crc]
