"""The user's home: `~` in paths, and the folder for what is kept from one run to the next.

A shell replaces `~` in `--out ~/x`; in `--out=~/x` and in files nobody does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from fspo.errors import FspoError

# What comes before the path in `--policy=name=~/x`.
_BEFORE = re.compile(r"\A(--[a-z-]+=)?([^/=~]*=)?(?=~(/|\Z))")
_TEXTS = ("--prompt", "--answer", "--password")  # what is said, and not where something is


def in_home(path: str) -> str:
    """Returns a path with the user's home in place of a `~` before it; any other as it is."""
    if path != "~" and not path.startswith("~/"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # nobody's home is known
        return path


def arguments_in_home(arguments: Iterable[str]) -> list[str]:
    """Returns a command's arguments with the user's home in place of a `~` before their paths."""
    found = []
    flag = ""
    for argument in arguments:
        if argument.startswith("--"):
            flag = argument.partition("=")[0]
        before = _BEFORE.match(argument)
        if before and flag not in _TEXTS:
            argument = before[0] + in_home(argument[before.end() :])
        found.append(argument)
        if not argument.startswith("--") or "=" in argument:
            flag = ""
    return found


def cache_folder() -> Path:
    """Returns where models and notes are kept: `FSPO_CACHE`, or the user's cache folder.

    Raises:
        FspoError: if there is neither, as for a user without an account on this machine.
    """
    from platformdirs import user_cache_path

    if own := os.environ.get("FSPO_CACHE"):
        return Path(in_home(own))
    try:
        return user_cache_path("fspo")
    except (RuntimeError, KeyError) as error:
        raise FspoError(
            "this user has no home folder: set FSPO_CACHE to a folder of your own, for models"
        ) from error
