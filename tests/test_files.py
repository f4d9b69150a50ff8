"""Files appear whole or not at all, on a full disk, too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from fspo import FspoError, Preference, Preferences
from fspo.files import replacing, replacing_folder, write_text
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


@pytest.mark.parametrize("mask", [0o022, 0o000])
def test_databases_and_kept_replies_are_their_owners_alone(tmp_path, mask):
    from fspo.llm.store import Store
    from fspo.web.database import open_database

    def modes():
        return {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    old = os.umask(mask)
    try:
        database = open_database(str(tmp_path / "a.db"))
        store = Store(tmp_path / "replies.db")
        assert len(store) == 0
        assert set(modes().values()) == {0o600}
        assert {"a.db", "a.db-wal", "a.db-shm", "replies.db"} <= modes().keys()
        # One that an earlier version made; and one whose group was given the right to read.
        for name, mode in (("early.db", 0o644), ("group.db", 0o640)):
            open_database(str(tmp_path / name)).close()
            (tmp_path / name).chmod(mode)
            open_database(str(tmp_path / name)).close()
        assert (modes()["early.db"], modes()["group.db"]) == (0o600, 0o640)
        database.close()
    finally:
        os.umask(old)
