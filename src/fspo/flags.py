"""Flags that several rooms' commands share, and what they do."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

MOST_SEED = 2**32 - 1  # what numpy's and torch's generators take
Seed = Annotated[int, typer.Option(help="Everything random depends on it.", min=0, max=MOST_SEED)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def hush(quiet: bool) -> None:
    """Turns progress and messages off; of several processes that train together, one speaks."""
    from fspo.console import console

    console.quiet = quiet or os.environ.get("RANK", "0") != "0"


def print_json(result: Any) -> None:
    """Prints to standard output, with every letter as it is where that can hold all letters."""
    all_letters = (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    print(json.dumps(result, ensure_ascii=not all_letters, indent=2))


def show(result: Any, as_json: bool, text: object) -> None:
    """Prints `result` as JSON, or else the `text` that says it to a person."""
    if as_json:
        print_json(result)
    else:
        print(text)
