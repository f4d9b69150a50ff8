"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from fspo.cli import app

ROW = {"user_id": "ann", "prompt": "q", "chosen": "yes", "rejected": "no"}


def fspo(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fspo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"prompt": "r"}) + "\n")
    return path


def test_help_and_import_stay_light() -> None:
    """Not a clock, which a busy machine moves, but what costs the time: no heavy module is read."""
    heavy = "{'torch', 'transformers', 'pyarrow', 'matplotlib', 'peft', 'datasets', 'pandas'}"
    for code in ("import fspo", "import fspo.cli"):
        check = f"import sys; {code}; print(sorted(set(sys.modules) & {heavy}))"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
        assert done.stdout == "[]\n"
    since = time.monotonic()
    assert "synthesize" in fspo("--help").stdout
    assert time.monotonic() - since < 10


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from leaves(child, f"{path} {name}")


def test_every_command_and_option_has_a_help_text() -> None:
    commands = dict(leaves(typer.main.get_command(app), "fspo"))
    assert len(commands) > 20
    for path, command in commands.items():
        texts = {path: command.help} | {
            f"{path} {option.name}": option.help
            for option in command.params
            if not getattr(option, "hidden", False)
        }
        for name, text in texts.items():
            assert text, name
            assert text[0].isupper(), f"{name}: {text}"


def test_data_check_prints_a_table_or_json(data: Path) -> None:
    assert "preferences per user" in fspo("data", "check", data).stdout
    assert json.loads(fspo("data", "check", data, "--json").stdout)["preferences"] == 2


def test_import_writes_a_dataset(tmp_path: Path) -> None:
    source = tmp_path / "r.jsonl"
    row = {"x": "q", "yw": "a", "yl": "b", "level": "1", "score_persona": "A nurse."}
    source.write_text(json.dumps(row) + "\n")
    done = fspo("import", "persona-iterative-responses", source, "--out", tmp_path / "d")
    assert done.stdout.strip() == str(tmp_path / "d")
    found = json.loads(fspo("data", "check", tmp_path / "d", "--json").stdout)
    assert (found["users"], found["preferences"]) == (1, 1)


def faults(tmp_path: Path, data: Path) -> list[tuple[list[object], str]]:
    (tmp_path / "bad.yaml").write_text("lerning_rate: 1\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "tie.jsonl").write_text(json.dumps(ROW | {"rejected": "yes"}) + "\n")
    out = tmp_path / "out"
    return [
        (["data", "check", tmp_path / "none.parquet"], "no such file"),
        (["train", tmp_path / "bad.yaml"], "did you mean 'learning_rate'?"),
        (["train", "--out", out], "data: not given"),
        (["train", "--data", tmp_path / "tie.jsonl", "--out", out], "line 1: chosen and rejected"),
        (["train", "--data", data, "--out", out, "--model", tmp_path], "cannot be loaded"),
        (["train", "--data", data, "--out", data], "x.jsonl"),
        (["evaluate", "--data", data, "--policy", tmp_path, "--out", out], "fspo.json: not found"),
        (["report", tmp_path], "results.json"),
        (["demo", "--out", tmp_path / "full"], "this folder is not empty"),
        (["synthesize", "revews", "--out", out], "did you mean 'reviews'?"),
        (["import", "elix", data, "--out", out], "there is no layout 'elix'"),
        (["rank", "--preferences", data, "--prompt", "q", "--answer", "a", "--policy", tmp_path],
         "fspo.json: not found"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(12))
def test_a_users_mistake_ends_in_one_line_and_exit_code_2(
    tmp_path: Path, data: Path, number: int
) -> None:
    arguments, message = faults(tmp_path, data)[number]
    done = fspo(*arguments)
    assert done.returncode == 2, done.stderr
    complaint = [line for line in done.stderr.splitlines() if line.startswith("fspo: ")]
    assert len(complaint) == 1
    assert message in complaint[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_fspo_alone_shows_three_commands_to_start_with_first() -> None:
    shown = fspo().stdout + fspo().stderr
    start, rest = shown.split("Start here")[1].split("All other commands")
    commands = [line.split()[1] for line in start.splitlines() if line[2:3].isalpha()]
    assert commands == ["demo", "train", "serve"]
    assert "synthesize" in rest


@pytest.mark.parametrize("arguments", [["rat-reviews", "beta=x"], ["beta=x"]])
def test_train_takes_any_key_of_its_recipe_with_and_without_one(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = fspo("train", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "beta: input should be a valid number" in done.stderr
    assert not (tmp_path / "out").exists()
