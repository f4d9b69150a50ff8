"""The table of methods that are trained: a folder here for each, and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from fspo.errors import FspoError
from fspo.methods.declaration import Declaration

METHODS: dict[str, Declaration] = {
    name: import_module(f"fspo.methods.{name}").METHOD
    for name in (
        "fspo",
        "rat",
        "ric",
        "vpl",
    )
}


def method_of(settings: Mapping[str, Any]) -> Declaration:
    """Returns the method that a policy was trained by.

    Args:
        settings: the policy's, as `fspo.json` has them; the earliest ones name no method.

    Raises:
        FspoError: if this version has no such method.
    """
    name = settings.get("method", "fspo")
    if name not in METHODS:
        raise FspoError(f"method: there is no {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
