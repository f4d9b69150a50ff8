"""docs/reference/ is what the code says, and names everything that the code has."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fspo

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_those_that_the_code_makes(made: ModuleType) -> None:
    for name, text in made.pages().items():
        told = f"run `python docs/make_reference.py`: docs/reference/{name} differs from the code"
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, told


@pytest.mark.parametrize("command", [[], ["train"], ["keys", "add"], ["study", "power"]])
def test_each_option_that_help_shows_is_on_the_page(made: ModuleType, command: list[str]) -> None:
    """An independent way to the commands: what `--help` prints."""
    line = [sys.executable, "-m", "fspo", *command, "--help"]
    told = subprocess.run(
        line, capture_output=True, text=True, check=True, env=dict(os.environ, COLUMNS="200")
    ).stdout
    page = "\n".join(made.commands())
    words = [word.strip("│ ") for line in told.splitlines() for word in line.split()[:2]]
    if command:
        options = {word.rstrip(",") for word in words if word.startswith("--")} - {"--help"}
        _, _, section = page.partition(f"## fspo {' '.join(command)}\n")
        section = section.partition("\n## ")[0]
        assert options
        assert all(f"`{option}" in section for option in options)
    else:
        groups = {"train", "evaluate", "serve", "keys", "study", "data"}
        assert groups <= set(words)
        assert all(f"\n## fspo {name}" in page for name in groups)


def test_every_public_name_and_its_methods_are_on_the_page(made: ModuleType) -> None:
    page = "\n".join(made.python())
    for name in fspo.__all__:
        assert f"\n## {name}\n" in page
    assert "### EpisodeTree.from_episode" in page


def test_every_key_of_a_recipe_says_its_default(made: ModuleType) -> None:
    page = "\n".join(made.recipes())
    assert "| `shots` | `int`, ≥ 0 | `8` | shots before" in page
    assert "| `adapter` | `str \\| None` | `null` |" in page
