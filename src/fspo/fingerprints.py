"""Fingerprints of data, models and templates, by their content: wherever they lie, whatever named.

Whatever a run leaves behind says by these what it was made from: a policy, kept answers, stored
log-probs. A copy, a moved folder or another file format has the same fingerprint; a change in
place has another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.files import write_json
from fspo.home import cache_folder

if TYPE_CHECKING:
    from fspo.preferences.records import Preferences

# What transformers and PEFT read of a folder, and what we do; code and pickles never are.
_SUFFIXES = {".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
_SUBFOLDERS = ("reference", "additional_chat_templates")
_NOT_READ = {"recipe.json", "fingerprints.json", "training_log.json", "results.json"}

# Small files of settings are compared by what they say, less where things lay and who wrote it.
_VERSIONS = {"_name_or_path", "name_or_path", "transformers_version"}
_NO_CONTENT = {
    "config.json": _VERSIONS,
    "generation_config.json": _VERSIONS,
    "tokenizer_config.json": _VERSIONS,
    "adapter_config.json": {"base_model_name_or_path", "peft_version"},
    "fspo.json": {"data", "model", "adapter", "beside", "fingerprints"},
}

_LARGE = 1 << 20  # bytes; what is smaller is hashed every time
_SETTLED = 3.0  # seconds; a file that changed since might change again within a clock's tick

# By file, its state and hash: for the rest of a process that can write no notes.
_noted_here: dict[Path, tuple[dict[str, int], str]] = {}


def of_parts(*parts: Any) -> str:
    """Returns the fingerprint of what JSON can say: 32 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def of_rows(preferences: Preferences) -> str:
    """Returns the fingerprint of preferences and of the descriptions of their users.

    Users count in their order, and each user's rows in theirs, because both decide what is drawn.
    How the rows of different users are mixed in a file does not count, nor do further columns.
    """
    found = hashlib.sha256()
    for user_id, rows in preferences.by_user.items():
        for record in (
            [user_id, preferences.users[user_id].description],
            *([p.prompt, p.chosen, p.rejected] for p in rows),
        ):
            found.update(json.dumps(record).encode() + b"\n")
    return found.hexdigest()[:32]


def of_template(name: str) -> str:
    """Returns the fingerprint of all text that a template puts around a person's words."""
    from fspo.learning.templates import DESCRIPTION, blocks, question_lead
    from fspo.preferences.records import Preference

    episode = [Preference(f"# question {n}", f"good {n}", f"\\# bad {n}") for n in (1, 2, 2)]
    return of_parts(blocks(episode, name), DESCRIPTION, question_lead("question"))


def of_model(name: str) -> str:
    """Returns the fingerprint of a model: weights, tokenizer, chat template and configuration.

    Of an adapter's folder the base model is a part. A model of the hub is told by the commit that
    its name stands for now.

    Args:
        name: as `fspo.models.load_model` takes it.

    Raises:
        FspoError: if there is no such model.
    """
    from fspo.embedded import EMBEDDED, embedded_model
    from fspo.models import read_config
    from fspo.places import base_of

    if name == EMBEDDED:
        return of_folder(embedded_model())
    folder = Path(name)
    if (folder / "adapter_config.json").is_file():
        return of_parts(of_folder(folder), of_model(base_of(folder)))
    if folder.is_dir():
        return of_folder(folder)
    read_config(name)  # which says what is wrong with a name
    return of_parts("hub", _commit_of(name))


def of_model_folder(name: str) -> str:
    """Returns the fingerprint of a model in a folder, whose content may change under its name.

    Empty for the embedded model, which does not, and for what is not on this disk.

    Raises:
        FspoError: as `of_model`.
    """
    from fspo.embedded import EMBEDDED

    return of_model(name) if name != EMBEDDED and Path(name).is_dir() else ""


def _commit_of(name: str) -> str:
    from transformers.utils.hub import cached_file, extract_commit_hash

    commit = extract_commit_hash(cached_file(name, "config.json"), None)
    if commit is None:
        raise FspoError(f"model {name!r}: it is not known which commit of the hub this is")
    return str(commit)


def of_folder(folder: Path) -> str:
    """Returns the fingerprint of a model's, an adapter's or a policy's own files, by their names.

    Raises:
        FspoError: if one of them cannot be read.
    """
    found = []
    for path in _files(folder):
        try:
            found.append([path.relative_to(folder).as_posix(), _of_file(path)])
        except OSError as error:
            raise FspoError(f"{path}: cannot be read: {error.strerror or error}") from error
    return of_parts(found)


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, *(folder / name for name in _SUBFOLDERS)):
        for path in sorted(place.glob("*")):
            counts = path.suffix in _SUFFIXES and path.name not in _NOT_READ
            if counts and not path.name.startswith(".") and path.is_file():
                yield path


def _of_file(path: Path) -> str:
    if path.name in _NO_CONTENT and path.stat().st_size < _LARGE:
        try:
            settings = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            settings = None
        if isinstance(settings, dict):
            passed_over = _NO_CONTENT[path.name]
            return of_parts({k: v for k, v in settings.items() if k not in passed_over})
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file; of a large one that did not change since, as it was noted.

    Raises:
        OSError: if it cannot be read.
    """
    state = _state_of(path)
    if state["size"] >= _LARGE and (noted := _noted(path, state)):
        return noted
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    settled = abs(time.time() - max(state["written"], state["changed"]) / 1e9) > _SETTLED
    if state["size"] >= _LARGE and settled and state == _state_of(path):
        _noted_here[path] = (state, found)
        if note := _note_of(path):
            with contextlib.suppress(OSError, FspoError):  # or else it is hashed again next time
                write_json(note, {"path": str(path), "state": state, "sha256": found})
    return found


def _noted(path: Path, state: dict[str, int]) -> str | None:
    """The hash that was noted of a file in this state, if any."""
    if note := _note_of(path):
        try:
            known = json.loads(note.read_bytes())
            if known["state"] == state:
                return str(known["sha256"])
        except (OSError, ValueError, TypeError, KeyError):
            pass  # not noted yet, or not whole
    here = _noted_here.get(path)
    return here[1] if here and here[0] == state else None


def _state_of(path: Path) -> dict[str, int]:
    """Returns what changes when a file does; unlike `written`, `changed` cannot be set back."""
    found = path.stat()
    return {
        "size": found.st_size,
        "written": found.st_mtime_ns,
        "changed": found.st_ctime_ns,
        "inode": found.st_ino,
        "device": found.st_dev,
    }


def _note_of(path: Path) -> Path | None:
    """Returns where a large file's hash is noted down, in the user's cache; None without one."""
    try:
        return cache_folder() / "hashes" / f"{of_parts(str(path.resolve()))}.json"
    except FspoError:  # nobody's home
        return None
