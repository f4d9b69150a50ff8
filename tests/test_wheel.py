"""What is installed from a wheel: all files, and recipes that are found from any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fspo

SOURCES = Path(fspo.__file__).parent
REPOSITORY = SOURCES.parents[1]
# In a new process: paths are those of the wheel, and packages those of this environment.
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from fspo.cli import main; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, which is built as pip builds it, from a copy."""
    pytest.importorskip("flit_core", reason="the wheel is built by flit_core, of the extra dev")
    from flit_core import buildapi

    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    shutil.copytree(SOURCES, copy / "src" / "fspo", ignore=shutil.ignore_patterns("__pycache__"))
    before = Path.cwd()
    os.chdir(copy)
    try:
        wheel = copy / buildapi.build_wheel(str(copy))
    finally:
        os.chdir(before)
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def test_every_file_is_in_it(installed: Path) -> None:
    files = {
        path.relative_to(SOURCES)
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path.suffix for path in files} >= {".py", ".yaml", ".html", ".js", ".safetensors"}
    for path in files:
        assert (installed / "fspo" / path).read_bytes() == (SOURCES / path).read_bytes()


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", RUN, str(installed), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    code = RUN.replace("from fspo.cli import main; main()", "import fspo; print(fspo.__file__)")
    done = subprocess.run(
        [sys.executable, "-c", code, str(installed)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(installed / "fspo" / "__init__.py")


@pytest.mark.parametrize("domain", ["elix", "roleplay", "reviews"])
def test_every_domain_shows_its_requests_or_says_by_which_command(
    installed: Path, tmp_path: Path, domain: str
) -> None:
    done = run(installed, tmp_path, "synthesize", domain, "--preview", "2", "--out", "o")
    if done.returncode == 2:
        [command] = re.findall("`fspo ([^`]+)`", done.stderr)
        assert done.stderr.count("\n") == 1
        done = run(installed, tmp_path, *command.split())
    assert done.returncode == 0, done.stderr
    assert "request 2" in done.stdout
    assert not list(tmp_path.iterdir())


def test_recipes_are_found_from_any_folder(installed: Path, tmp_path: Path) -> None:
    for recipe in ("rat-reviews", "recipes/vpl-reviews.yaml", "paper/ipo"):
        done = run(installed, tmp_path, "train", recipe, "--data", "none", "--out", "o")
        assert "none: " in done.stderr  # it was read: the data is what is missing
    done = run(installed, tmp_path, "paper", "none", "--out", "o")
    assert "take ablations, elix, refinement, reviews, roleplay" in done.stderr
    assert run(installed, tmp_path, "study", "new", "study.yaml").returncode == 0
    assert run(installed, tmp_path, "study", "preview", "study.yaml").returncode == 0
