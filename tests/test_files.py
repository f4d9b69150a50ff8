"""Files appear whole or not at all, on a full disk, too."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from fspo import FspoError, Preference, Preferences
from fspo.files import clear_cache, heal, replacing, replacing_folder, write_text
from fspo.preferences.checking import check_path
from fspo.preferences.writing import save_preferences


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_named_and_leaves_what_was_there(small_disk: Path) -> None:
    path = small_disk / "x.txt"
    write_text(path, "before")
    with pytest.raises(FspoError, match=r"x\.txt: the disk is full"):
        write_text(path, "after " * 100_000)
    assert path.read_text() == "before"
    assert list(small_disk.iterdir()) == [path]


def test_a_dataset_on_a_full_disk(small_disk: Path) -> None:
    own = [Preference(f"q{i}", os.urandom(4000).hex(), "b") for i in range(40)]
    with pytest.raises(FspoError, match="the disk is full"):
        save_preferences(Preferences({"u": own}), small_disk / "data", "")
    assert list(small_disk.iterdir()) == []


def half_written(kind: Callable[[Path], AbstractContextManager[Path]], path: Path) -> None:
    with kind(path) as unfinished:
        (unfinished / "z" if unfinished.is_dir() else unfinished).write_text("half")
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [replacing, replacing_folder])
def test_a_fault_in_the_middle_leaves_nothing(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        half_written(kind, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FspoError, match="cannot be written"):
        write_text(tmp_path / "file" / "x", "text")


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a letter")
    with pytest.raises(FspoError, match="cannot be written"), replacing_folder(tmp_path / "x"):
        pass
    assert (tmp_path / "x").read_text() == "a letter"
    assert len(list(tmp_path.iterdir())) == 1


# Replaces `place` in forked children. Each is killed before its n-th operation on a file, for all
# n: Python tells its audit hooks of each. Prints, for each, what the folder is afterwards.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from fspo import Preference, Preferences, User, load_preferences
from fspo.files import write_text
from fspo.preferences.checking import check_path
from fspo.preferences.writing import save_preferences

place, kind, inside = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3] == "inside"
TOUCHES = ("open", "os.", "fcntl.flock", "tempfile.", "shutil.")

def data(version):
    own = {u: [Preference("q", version, "n"), Preference("r", version, "n")] for u in "ab"}
    users = [User("a", version, split="train"), User("b", version, split="test")]
    return Preferences(own, users)

def write(version):
    if kind == "file":
        write_text(place, version * 1000)
    else:
        save_preferences(data(version), Path(".") if inside else place, version, "jsonl")

def read():
    if kind == "file":
        text = place.read_text()
        assert text in ("old" * 1000, "new" * 1000), text
        return text[:3]
    found = load_preferences(place)
    told = check_path(place)
    assert (told["users"], told["preferences"]) == (2, 4)
    [version] = {p.chosen for _, p in found}
    assert {u.description for u in found.users.values()} == {version}
    assert (place / "README.md").read_text().rstrip().endswith(version)
    names = {path.name for path in place.iterdir()}
    assert names == {"README.md", "preferences.jsonl", "users.jsonl"}, names
    return version

def child(n):
    left = n
    def hook(event, arguments):
        nonlocal left
        if event.startswith(TOUCHES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    write("new")
    os._exit(0)

if inside:
    place.mkdir()
    os.chdir(place)
write("old")
found, n = [], 0
while True:
    n += 1
    pid = os.fork()
    if pid == 0:
        child(n)
    _, status = os.waitpid(pid, 0)
    gone = not place.exists()
    version = read()
    if version == "new":
        write("old")
    found.append([version, gone])
    if status == 0:
        break
write("old")
left = sorted(path.name for path in place.parent.iterdir() if path != place)
print(json.dumps({"found": found, "left": left, "names": sorted(os.listdir("."))}))
"""


@pytest.mark.parametrize(
    ("kind", "where"), [("file", "beside"), ("folder", "beside"), ("folder", "inside")]
)
def test_killed_at_any_operation_it_is_the_old_one_or_the_new_one(
    tmp_path: Path, kind: str, where: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "x"), kind, where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    versions = [version for version, _ in result["found"]]
    assert len(versions) > (10 if kind == "file" else 20)
    assert "old" in versions
    assert versions[-1] == "new"
    assert versions == sorted(versions, reverse=True)  # from some operation on it is the new one
    # Between two renames there is no folder; who opens it makes it whole.
    assert any(gone for _, gone in result["found"]) == (kind == "folder" and where == "beside")
    assert result["left"] == []
    if where == "inside":  # who stands in the folder sees what is in it
        assert result["names"] == ["README.md", "preferences.jsonl", "users.jsonl"]


def test_killed_at_random_moments(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fspo.files import replacing_folder\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    with replacing_folder(Path(sys.argv[1])) as new:\n"
        "        for name in 'abcdefgh': (new / name).write_text(str(n))\n"
        "    print(n, flush=True)\n"
    )
    place, draw = tmp_path / "x", random.Random(0)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(draw.random() / 20)
        process.kill()
        process.communicate()
        heal(place)
        assert {path.name for path in place.iterdir()} == set("abcdefgh")
        assert len({path.read_text() for path in place.iterdir()}) == 1
    with replacing_folder(place):
        pass
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_living_process_writes_is_not_cleared(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fspo.files import replacing, replacing_folder\n"
        "with replacing_folder(Path(sys.argv[1])) as a, replacing(Path(sys.argv[2])) as b:\n"
        "    a.joinpath('z').write_text('living'); b.write_text('living')\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
    )
    folder, file = tmp_path / "x", tmp_path / "y"
    living = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert living.stdout
    living.stdout.readline()
    with replacing_folder(folder) as other:
        (other / "z").write_text("other")
    write_text(file, "other")
    assert (folder / "z").read_text() == file.read_text() == "other"
    living.communicate("\n")
    assert living.returncode == 0
    assert (folder / "z").read_text() == file.read_text() == "living"
    assert sorted(tmp_path.iterdir()) == [folder, file]


def test_files_of_somebody_else_are_not_cleared(tmp_path: Path) -> None:
    own = [".x.settings", ".x.backup_1", ".x.20261201", ".x.new", ".y.abcdefgh.new", "x.old"]
    for name in own:
        (tmp_path / name).mkdir()
    for _ in range(2):
        with replacing_folder(tmp_path / "x"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*own, "x"])


def test_a_cache_is_cleared_of_what_earlier_versions_left(tmp_path: Path) -> None:
    model = tmp_path / "model"
    names = [".model.abcd_123", "tmpabcdefgh", ".model.young_12", "model", "other", "model.lock"]
    for name in names:
        (tmp_path / name).mkdir()
        if "young" not in name:
            os.utime(tmp_path / name, (0, 0))
    clear_cache(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


@pytest.mark.parametrize("place", ["../x", "link", "x/", "x/../x", "./x/."])
def test_a_folder_by_any_of_its_names(tmp_path: Path, monkeypatch: Any, place: str) -> None:
    work = tmp_path / "work"
    (work / "x").mkdir(parents=True)
    (work / "x" / "before").touch()
    (work / "link").symlink_to("x")
    here = work / "x" if place.startswith("..") else work
    monkeypatch.chdir(here)
    with replacing_folder(Path(place)) as new:
        (new / "after").touch()
    assert [path.name for path in (work / "x").iterdir()] == ["after"]
    assert (work / "link").is_symlink()
    assert sorted(path.name for path in work.iterdir()) == ["link", "x"]


def test_a_replace_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: Any) -> None:
    place = tmp_path / "x"
    with replacing_folder(place) as new:
        (new / "z").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise PermissionError(1, "Operation not permitted")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FspoError, match="cannot be written"), replacing_folder(place) as new:
        (new / "z").write_text("new")
    assert (place / "z").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_a_dataset_that_is_there_in_part_is_refused(tmp_path: Path) -> None:
    from fspo import User, load_preferences

    own = {"a": [Preference("q", "y", "n")]}
    for layout in ("parquet", "jsonl"):
        place = tmp_path / layout
        save_preferences(Preferences(own, [User("a", "kind", split="test")]), place, "", layout)
        (place / f"users.{layout}").unlink()
        for read in (load_preferences, check_path):
            with pytest.raises(FspoError, match=f"{layout}: the table of users is missing"):
                read(place)
        (place / "README.md").unlink()  # as those of other people, and of no card
        assert len(load_preferences(place)) == 1
        (place / "README.md").write_text("---\nconfigs:\n  data_files: users.jsonl\n---\n")
        assert len(load_preferences(place)) == 1
