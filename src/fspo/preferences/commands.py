"""`fspo import`, `fspo push` and `fspo data check`: datasets in, out and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fspo.flags import AsJson, Quiet, print_json, set_quiet

data_app = typer.Typer(help="Look at preference data.", no_args_is_help=True)


def import_(
    layout: Annotated[
        str, typer.Argument(help="The layout of the released data; a wrong name lists them.")
    ],
    source: Annotated[Path, typer.Argument(help="The released file or folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the preference dataset.")],
    quiet: Quiet = False,
) -> None:
    """Turn one of the paper's released datasets, or PRISM, into a preference dataset."""
    from fspo.preferences.importing import import_released
    from fspo.preferences.writing import save_preferences

    set_quiet(quiet)
    preferences = import_released(layout, source)
    save_preferences(preferences, out, f"Imported from the released layout `{layout}`.")
    print(out)


def push(
    folder: Annotated[Path, typer.Argument(help="A preference dataset.")],
    name: Annotated[str, typer.Argument(help="Its name on the Hugging Face hub: owner/name.")],
    public: Annotated[bool, typer.Option("--public", help="Make it public.")] = False,
) -> None:
    """Upload a dataset with its card to the Hugging Face hub: private, unless you say otherwise."""
    from fspo.preferences.pushing import push as run

    print(run(folder, name, public))


@data_app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A preference dataset: folder or file.")],
    as_json: AsJson = False,
) -> None:
    """Print counts per user, lengths, duplicates, ties and contradictions."""
    from rich.console import Console

    from fspo.preferences.checking import check_path, render

    found = check_path(path)
    if as_json:
        print_json(found)
    else:
        Console().print(render(found))
