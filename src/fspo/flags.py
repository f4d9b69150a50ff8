"""Flags that several rooms' commands share, and what they do."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fspo.home import arguments_in_home

LARGEST_SEED = 2**32 - 1  # that every library takes which draws numbers from it
Seed = Annotated[
    int,
    typer.Option(help="Random seed: the same seed gives the same result.", min=0, max=LARGEST_SEED),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Commands(TyperGroup):
    """Commands whose paths may begin with `~` wherever they stand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer's own copy of click
        """Parses the arguments with the user's home in place of `~`."""
        return super().parse_args(ctx, arguments_in_home(args))


def set_quiet(quiet: bool) -> None:
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
