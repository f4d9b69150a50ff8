"""Loads the policies and models that write a study's answers, once each."""

from __future__ import annotations

import os
from pathlib import Path

from fspo.assistant.backend import Backend
from fspo.errors import FspoError
from fspo.study.definition import Method, Study


def build_backends(study: Study, folder: Path) -> dict[str, Backend]:
    """Loads what the methods name.

    Args:
        study: whose methods.
        folder: where the study's file is; policies are looked for there first.

    Raises:
        FspoError: naming the method whose policy cannot be loaded.
    """
    loaded: dict[tuple[str, str], Backend] = {}
    backends = {}
    for name, method in study.methods.items():
        place = (method.policy, method.server)
        if place not in loaded:
            try:
                loaded[place] = _load(method, folder)
            except FspoError as error:
                raise FspoError(f"methods.{name}.policy: {error}") from error
        backends[name] = loaded[place]
    return backends


def _load(method: Method, folder: Path) -> Backend:
    if method.server:
        from fspo.assistant.remote import RemoteBackend

        return RemoteBackend(method.server, method.policy, os.environ.get(method.key_from))
    from fspo.assistant.local import LocalBackend

    beside = folder / method.policy
    return LocalBackend(str(beside) if beside.is_dir() else method.policy)
