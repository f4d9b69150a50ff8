"""A `~` that no shell has replaced, in flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fspo.cli import app
from fspo.home import arguments_in_home


def test_paths_begin_in_the_home_and_texts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    given = ["train", "~/r.yaml", "--out=~/x", "--policy=mine=~/p", "--database", "~/a.db",
             "--prompt", "~/bin?", "--answer=~/b", "--data", "a/~/b", "~x", "q=~y",
             "~"]  # fmt: skip
    assert arguments_in_home(given) == [
        "train", "/me/r.yaml", "--out=/me/x", "--policy=mine=/me/p", "--database", "/me/a.db",
        "--prompt", "~/bin?", "--answer=~/b", "--data", "a/~/b", "~x", "q=~y", "/me",
    ]  # fmt: skip


def test_the_command_line_writes_into_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text(
        '{"prompt": "q", "response_x": "X", "response_y": "Y", "scorer_level": "c", "label": 0}'
    )
    done = CliRunner().invoke(app, ["import", "steered-reviews", "x.jsonl", "--out=~/d"])
    assert done.exit_code == 0
    assert (tmp_path / "home" / "d" / "preferences.parquet").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["rank", "--shots", "-3", "--preferences", "x", "--prompt", "q", "--policy", "p"],
        ["train", "--dry-run", "--tflops", "-1"],
        ["train", "--dry-run", "--tflops", "0"],
        ["evaluate", "--seed", "1" + "0" * 20, "--data", "d", "--policy", "p", "--out", "o"],
        ["synthesize", "elix", "--preview", "-1", "--out", "o"],
    ],
)
def test_numbers_out_of_range_are_refused_by_the_flags(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "Invalid value for" in done.output
