"""Each `fspo` line of the documentation names a command, options and a recipe that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from fspo.cli import app
from fspo.recipe import RECIPES, recipe_file

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    if path.parent.name not in ("reference", "experiments")
]
LINE = re.compile(r"^    ((?:\S+ -m )?fspo [a-z](?:.*\\\n)*.*)$", re.M)
OURS = {path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml")}


def lines(page: Path) -> list[str]:
    found = LINE.findall(page.read_text(encoding="utf-8"))
    return [line.replace("\\\n", " ").partition(" #")[0].strip() for line in found]


def faults(line: str) -> list[str]:
    """What of a command line does not exist."""
    words = shlex.split(line)
    words = words[words.index("fspo") + 1 :]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name = words.pop(0)
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    wrong = [w for w in words if w.startswith("--") and w.partition("=")[0] not in known]
    if command.name == "train" and words and not words[0].startswith("-"):
        mine = words[0].endswith(".yaml")
        wrong += [] if mine or words[0] in OURS else [words[0]]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_exists(page: Path) -> None:
    assert [(line, wrong) for line in lines(page) if (wrong := faults(line))] == []


def test_there_are_commands_and_wrong_ones_are_found() -> None:
    assert sum(len(lines(page)) for page in PAGES) > 50
    assert faults("fspo trian --data x") == ["trian"]
    assert faults("fspo train --dta x") == ["--dta"]
    assert faults("torchrun -m fspo train nowhere --data x") == ["nowhere"]
    assert faults("fspo keys add shop --scope chat") == []
    assert recipe_file(Path("fspo-reviews")).is_file()


def test_each_make_target_exists() -> None:
    made = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    in_workflow = set(re.findall(r"run: make ([\w-]+)", workflow))
    assert {"lint", "test", "docs"} <= in_workflow
    told = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = in_workflow | set(re.findall(r"(?:`|^    )make ([a-z-]+)", told, re.M))
    assert named - set(made) == set()
