"""Finds a policy's base model from any working directory.

A folder is noted as an absolute path and, beside it, from the policy's own folder: it is found
where it was, and after both were moved together. Earlier versions noted paths as they were typed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fspo.errors import FspoError


def noted(names: Mapping[str, str | None], folder: Path) -> dict[str, Any]:
    """Returns what a policy's settings say of the places that it depends on.

    Args:
        names: place or hub id by the key of the settings.
        folder: the policy's.

    Returns:
        Each key's absolute path, or its name where nothing lies there; and under `beside` the
        same paths from `folder`.
    """
    places = {key: name and place_of(name) for key, name in names.items()}
    own = folder.resolve()
    beside = {
        key: Path(os.path.relpath(place, own)).as_posix()
        for key, place in places.items()
        if place and Path(place).is_absolute()
    }
    return {**places, "beside": beside}


def place_of(name: str) -> str:
    """Returns the absolute path of what is on this disk; any other name as it is."""
    from fspo.embedded import EMBEDDED

    return str(Path(name).resolve()) if name != EMBEDDED and Path(name).exists() else name


def find(settings: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """Returns where what a policy's settings name under `key` is now.

    Args:
        settings: of the policy.
        key: "model" or "adapter".
        folder: the policy's.

    Returns:
        A folder's path, or a hub id; None if it was a folder, and is not found.
    """
    from fspo.embedded import EMBEDDED

    name = settings.get(key)
    if not isinstance(name, str) or not name:
        return None
    if name == EMBEDDED:
        return name
    own = settings.get("beside")
    beside = own.get(key) if isinstance(own, dict) else None
    if isinstance(own, dict) and not beside and not Path(name).is_absolute():
        return name  # it was no folder when this was written
    places = [Path(name)] + ([folder / str(beside)] if beside else [])
    if not Path(name).is_absolute():  # as it was typed, most likely somewhere above the policy
        places += [parent / name for parent in folder.resolve().parents]
    there = [place for place in places if _is_model(place)]
    if len(there) > 1 and beside:
        there = sorted(there, key=lambda place: not _is(place, settings, key))
    if there:
        return str(there[0])
    return None if _is_path(name) else name


def base_of(folder: Path) -> str:
    """Returns the base model of an adapter's folder: what `load_model` takes.

    Raises:
        FspoError: if the adapter names none, or a folder that is not found.
    """
    path = folder / "adapter_config.json"
    settings = _read(folder / "fspo.json")
    if not isinstance(settings.get("model"), str):
        base = _read(path).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise FspoError(f"{path}: names no base model (base_model_name_or_path)")
        settings = {"model": base}
    return base_in(settings, folder)


def base_in(settings: Mapping[str, Any], folder: Path) -> str:
    """Returns where the base model is that a policy's settings name.

    Raises:
        FspoError: if it was a folder, and is not found.
    """
    found = find(settings, "model", folder)
    if found is not None:
        return found
    name = str(settings.get("model"))
    if Path(name).is_absolute():
        raise FspoError(
            f"{folder}: its base model was in {name}, and is not there now. Put it back, or move "
            f"it together with the policy, or write its place into {folder / 'fspo.json'} (model)."
        )
    raise FspoError(
        f"{folder}: its base model is noted as {name!r}, a path from the folder in which it was "
        f"trained, and there is no such folder in {Path.cwd()} nor above the policy. Run this "
        f"there, or write the whole path into {folder / 'fspo.json'} (model)."
    )


def _is(place: Path, settings: Mapping[str, Any], key: str) -> bool:
    """Returns whether a place holds what was meant, as far as that was noted."""
    from fspo.fingerprints import of_model

    known = settings.get("fingerprints")
    return isinstance(known, dict) and known.get(key) == of_model(str(place))


def _is_model(place: Path) -> bool:
    names = ("config.json", "adapter_config.json", "fspo.json")
    return any((place / name).is_file() for name in names)


def _is_path(name: str) -> bool:
    """Returns whether a name can be no hub id, OWNER/NAME: without an owner it was a folder."""
    return name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
