"""A folder is one run's for as long as it lasts, and nobody's as soon as it is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fspo import FspoError
from fspo.locks import LOCK, only_run

HOLDER = """
import sys, time
from pathlib import Path
from fspo.locks import only_run
with only_run(Path(sys.argv[1]), beside=sys.argv[2] == "True"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(out: Path, beside: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Inside, another process holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(out), str(beside)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("beside", [False, True])
def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path: Path, beside: bool) -> None:
    out = tmp_path / "deep" / "out"
    with held(out, beside) as first:
        for path in (out, tmp_path / "deep" / ".." / "deep" / "out"):
            with (
                pytest.raises(FspoError, match="another run is at work in this folder"),
                only_run(path, beside),
            ):
                pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        with only_run(out, beside):
            pass
    assert [path.name for path in tmp_path.rglob("*") if LOCK in path.name] == []


def test_a_run_that_is_killed_lets_go_although_its_children_live_on(tmp_path: Path) -> None:
    script = HOLDER.replace(
        'print("held"', 'import subprocess; subprocess.Popen(["sleep", "9"]); print("held"'
    )
    command = [sys.executable, "-c", script, str(tmp_path), "False"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        with only_run(tmp_path):
            pass


def test_a_stage_takes_the_folder_of_its_run_again_and_another_thread_does_not(
    tmp_path: Path,
) -> None:
    refused = []

    def other() -> None:
        try:
            with only_run(tmp_path):
                pass
        except FspoError as error:
            refused.append(str(error))

    with only_run(tmp_path):
        with only_run(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_behind_by_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_run(tmp_path / "new"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FspoError, match="cannot be written"), only_run(tmp_path / "file"):
        pass


def test_of_the_processes_of_a_job_the_first_holds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with only_run(tmp_path):
            assert os.environ["RANK"] == "1"
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(FspoError, match="another run"), only_run(tmp_path):
            pass


RECIPE = "users: 12\nquestions: 30\nanswers_per_question: 6\npreferences_per_user: 4\n"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "nowhere"],
        ["demo"],
        ["paper", "reviews"],
        ["evaluate", "--data", "nowhere", "--policy", "nowhere"],
        ["audit", "--data", "nowhere", "--policy", "nowhere"],
        ["synthesize", "reviews"],
        ["synthesize", "roleplay", "--recipe", "r.yaml"],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_every_command_that_fills_a_folder_keeps_others_out(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from fspo.cli import app

    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    with held(tmp_path / "out", beside=command[0] == "synthesize"):
        there = sorted(tmp_path.rglob("*"))
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
        told = f"{done.output} {done.exception}"
        assert "another run is at work in this folder" in told
        assert sorted(tmp_path.rglob("*")) == there
