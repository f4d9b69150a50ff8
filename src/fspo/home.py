"""`~` in paths: a shell replaces it in `--out ~/x`, and in `--out=~/x` and in files nobody does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

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
