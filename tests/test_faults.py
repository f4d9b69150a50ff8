"""What libraries raise late ends in one line; what nobody foresaw, in a pointer to a log file."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import resource
import sqlite3
import ssl
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pyarrow
import pyarrow.parquet
import pytest
import safetensors
import safetensors.torch
import sqlalchemy
import torch
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fspo import FspoError, cli, faults, known_faults

ROW = {"user_id": "ann", "prompt": "q", "chosen": "yes", "rejected": "no"}
SECRET = "my neighbor's diary"


def _torch_on_full_disk() -> None:
    torch.save({"x": torch.zeros(1000)}, "/dev/full")


def _torch_on_empty_file(folder: Path) -> None:
    (folder / "x.pt").touch()
    torch.load(folder / "x.pt")


def _torch_on_torn_file(folder: Path) -> None:
    torch.save({"x": torch.zeros(1000)}, folder / "x.pt")
    (folder / "x.pt").write_bytes((folder / "x.pt").read_bytes()[:1000])
    torch.load(folder / "x.pt")


def _safetensors_limited(folder: Path) -> None:
    with Limited(1000):
        safetensors.torch.save_file({"x": torch.zeros(1000)}, folder / "x.safetensors")


def _safetensors_torn(folder: Path) -> None:
    (folder / "x.safetensors").write_bytes(b"version https://git-lfs")
    safetensors.torch.load_file(folder / "x.safetensors")


class Limited:
    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def _bytes_limited(folder: Path) -> None:
    with Limited(1000):
        (folder / "x.txt").write_bytes(bytes(5000))


def _parquet_torn(folder: Path) -> None:
    (folder / "x.parquet").write_bytes(b"PAR1 cut off")
    pyarrow.parquet.read_table(folder / "x.parquet")


def _parquet_limited(folder: Path) -> None:
    table = pyarrow.table({"x": list(range(100_000))})
    with Limited(1000):
        pyarrow.parquet.write_table(table, folder / "x.parquet")


def _database_locked(folder: Path) -> None:
    one = sqlite3.connect(folder / "x.db", isolation_level=None)
    one.execute("create table t (x)")
    one.execute("begin exclusive")
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/x.db", connect_args={"timeout": 0})
    try:
        with engine.begin() as two:
            two.execute(sqlalchemy.text("insert into t values (:x)"), {"x": SECRET})
    finally:
        one.close()


def _database_is_text(folder: Path) -> None:
    (folder / "x.db").write_text("a letter, not a database " * 100)
    sqlite3.connect(folder / "x.db").execute("select * from t")


def _database_nowhere(folder: Path) -> None:
    sqlalchemy.create_engine(f"sqlite:///{folder}/none/x.db").connect()


def _deep_json() -> None:
    json.loads("[" * 100_000)


def _deep_yaml() -> None:
    yaml.safe_load("[" * 3000)


def _endless() -> None:
    _endless()


def _certificate(folder: Path) -> None:
    (folder / "x.pem").write_text("x")
    ssl.create_default_context(cafile=str(folder / "x.pem"))


def _zip(folder: Path) -> None:
    (folder / "x.zip").write_bytes(b"no zip")
    zipfile.ZipFile(folder / "x.zip")


def _bad_address() -> None:
    import httpx2

    httpx2.Client().get("http://[::1")


def _no_home() -> None:
    raise RuntimeError("could not determine the home directory for '~/.cache', set HOME")


def _while_closing() -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x")
    finally:
        raise ValueError("I/O operation on closed file")


def _raised_from() -> None:
    try:
        _database_is_text(Path(os.environ["TMPDIR"]))
    except sqlite3.DatabaseError as error:
        raise KeyError("state") from error


def _raise(error: BaseException) -> None:
    raise error


KNOWN: list[tuple[Callable[..., Any], str]] = [
    (_torch_on_full_disk, "the disk is full"),
    (_torch_on_empty_file, "empty, damaged or cut off"),
    (_torch_on_torn_file, "empty, damaged or cut off"),
    (_safetensors_limited, "ulimit -f"),
    (_safetensors_torn, "empty, damaged or cut off"),
    (_bytes_limited, "ulimit -f"),
    (_parquet_torn, "parquet file"),
    (_parquet_limited, "ulimit -f"),
    (_database_locked, "locked"),
    (_database_is_text, "the file is no database"),
    (_database_nowhere, "its address"),
    (_deep_json, "nested too deeply"),
    (_deep_yaml, "nested too deeply"),
    (_endless, "nested too deeply"),
    (_certificate, "certificate"),
    (_zip, "damaged or cut off"),
    (_bad_address, "Look at the address"),
    (_no_home, "HOME"),
    (_while_closing, "/data/x: the disk is full"),
    (lambda: __import__("sqlalchemy.dialects.nonesuch"), "pip install 'fspo[serve]'"),
    (lambda: __import__("nonesuch"), "the package nonesuch is missing"),
    (lambda: 10.0**400, "a number is too large"),
    (lambda: int("9" * 5000), "too many digits"),
    (lambda: torch.manual_seed(10**20), "a number is too large"),
    (lambda: "漢".encode("latin-1"), "PYTHONIOENCODING"),
    (lambda: "caf\udce9".encode(), "no UTF-8"),
    (lambda: b"caf\xe9".decode(), "not UTF-8 text"),
    (lambda: jinja2.Template("{{ x.y.z }}").render(), "chat template"),
    (lambda: jinja2.Template("{% if %}"), "chat template"),
    (lambda: yaml.safe_load("a: b: c"), "not YAML"),
    (lambda: json.loads("{"), "not JSON"),
    (lambda: bytearray(2**62), "not enough memory"),
    (lambda: torch.empty(2**50), "not enough memory"),
    (lambda: _raise(torch.OutOfMemoryError("CUDA out of memory. Tried")), "micro_batch_tokens"),
    (lambda: _raise(RuntimeError("[enforce fail] iostream error")), "the disk is full"),
    (lambda: _raise(RuntimeError("basic_ios::clear: iostream error")), "the disk is full"),
    (lambda: _raise(OSError(errno.EDQUOT, "Disk quota exceeded", "x")), "x: the disk is full"),
    (lambda: _raise(OSError(errno.ENOSPC, "No space left")), "the disk is full"),
    (lambda: _raise(OSError(errno.EMFILE, "Too many")), "ulimit -n"),
    (lambda: _raise(OSError(errno.EIO, "Input/output error")), "Input/output error"),
    (lambda: _raise(OSError("a library's own words")), "a library's own words"),
    (lambda: _raise(PermissionError(errno.EACCES, "Permission denied", "f")), "permissions"),
    (lambda: _raise(ConnectionResetError(104, "reset by peer")), "the connection failed"),
    (lambda: _raise(BrokenPipeError(32, "Broken pipe")), "the connection failed"),
    (lambda: _raise(TimeoutError("timed out")), "the connection failed"),
    (lambda: _raise(EOFError("EOF when reading a line")), "the input ended"),
    (lambda: _raise(RuntimeError("CUDA error: device-side assert triggered")), "graphics"),
    (lambda: _raise(ExceptionGroup("g", [MemoryError()])), "not enough memory"),
    (lambda: _raise(ExceptionGroup("g", [FspoError("ours, grouped")])), "ours, grouped"),
    (lambda: _raise(FspoError("ours")), "ours"),
]  # fmt: skip


def raised(act: Callable[..., Any], folder: Path) -> BaseException:
    try:
        act(folder) if "folder" in act.__code__.co_varnames[:1] else act()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("number", range(len(KNOWN)))
def test_what_libraries_raise_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: Any, monkeypatch: Any, number: int
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    act, words = KNOWN[number]
    assert faults.tell(raised(act, tmp_path)) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.startswith("fspo: ")
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert SECRET not in shown
    for log in (tmp_path / "state").rglob("*.log"):
        assert SECRET not in log.read_text()


def test_a_known_cause_explains_what_was_raised_from_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert "the file is no database" in str(known_faults.explain(raised(_raised_from, tmp_path)))


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), AttributeError("x"), KeyError("x"), AssertionError(),
              ValueError("bad"), RuntimeError("odd"), ImportError("x", name="fspo.nonesuch")]
)  # fmt: skip
def test_what_nobody_foresaw_is_logged_for_its_owner_alone(
    tmp_path: Path, capsys: Any, monkeypatch: Any, error: Exception
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    caught = raised(lambda: _raise(error), tmp_path)
    assert faults.tell(caught) == 1
    shown = capsys.readouterr().err
    [log] = tmp_path.rglob("*.log")
    assert shown.startswith("fspo: unexpected fault")
    assert str(log) in shown
    assert shown.count("\n") == 1
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "in _raise" in log.read_text()


def test_a_few_logs_are_kept_and_they_hold_no_more_than_first_lines(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["fspo", "rank", "--prompt", SECRET])
    other = tmp_path / "fspo" / "log" / "notes.log"
    other.parent.mkdir(parents=True)
    other.touch()
    for number in range(faults.LOGS_KEPT + 5):
        last = faults.write_log(ValueError(f"fault {number}\n[parameters: {SECRET}]"))
    logs = set(other.parent.iterdir()) - {other}
    assert len(logs) == faults.LOGS_KEPT
    assert last in logs
    assert other.exists()
    assert not any(SECRET in log.read_text() for log in logs)
    assert "rank" in last.read_text()


def test_without_a_home_the_log_goes_where_temporary_files_go(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert faults.write_log(ValueError("x")).parent == tmp_path


@given(st.text())
def test_any_message_is_one_printable_line(message: str) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as held:
        faults.complain(message)
    assert held.getvalue().count("\n") == 1
    assert held.getvalue()[:-1].isprintable()


def run_in_app(error: BaseException) -> Any:
    app = typer.Typer(cls=cli._Commands)

    @app.command()
    def one() -> None:
        raise error

    @app.command()
    def two() -> None:
        pass

    return CliRunner().invoke(app, ["one"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(EOFError("Ran out of input"), 2), (FspoError("x"), 2), (KeyboardInterrupt(), 130),
     (typer.Exit(3), 3), (typer.Abort(), 1), (typer.BadParameter("x"), 2), (SystemExit(4), 4)],
)  # fmt: skip
def test_exit_codes(error: BaseException, code: int) -> None:
    done = run_in_app(error)
    assert done.exit_code == code
    assert "Aborted" not in done.output or isinstance(error, typer.Abort)


def fspo(
    *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fspo", *map(str, arguments)]
    full = os.environ | (env or {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(command, text=True, check=False, env=full, cwd=cwd, **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.jsonl"
    rows = [ROW, ROW | {"prompt": "漢字 😀", "user_id": "bé"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_latin_1_output_takes_all_letters_and_json_stays_json(data: Path) -> None:
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = fspo("data", "check", data, "--json", env=latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(fspo("data", "check", data, "--json").stdout)
    assert fspo("data", "check", data, env=latin).returncode == 0


def test_a_full_disk_behind_standard_output(data: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = fspo("data", "check", data, stdout=full)
    assert done.returncode == 2
    assert done.stderr == "fspo: the disk is full. Free some space and run again.\n"


def test_a_closed_pipe_ends_in_silence(data: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = fspo("data", "check", data, stdout=writing)
    os.close(writing)
    assert done.stderr == ""


def test_a_limit_on_file_size_is_named(data: Path, tmp_path: Path) -> None:
    row = {"x": "q", "yw": "a", "yl": "b", "level": "1", "score_persona": "A nurse."}
    many = [row | {"yw": os.urandom(500).hex()} for _ in range(200)]
    data.write_text("".join(json.dumps(row) + "\n" for row in many))
    done = fspo(
        "import", "persona-iterative-responses", data, "--out", tmp_path / "d",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "ulimit -f" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"x.jsonl"}


@pytest.mark.parametrize("seed", [10**20, 2**32, -1])
def test_a_seed_that_no_generator_takes_is_refused(data: Path, tmp_path: Path, seed: int) -> None:
    for command in (["train"], ["evaluate", "--policy", tmp_path], ["synthesize", "elix"]):
        source = [] if command[0] == "synthesize" else ["--data", data]
        done = fspo(*command, *source, "--out", tmp_path / "o", "--seed", seed)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "seed" in done.stderr
