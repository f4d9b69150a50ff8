"""Writing files and folders whole or not at all: beside their place first, then renamed into it.

Whatever moment a run is killed at, what it was replacing is the old one or the new one, or is
made the new one when it is next opened (`heal`). What a killed run left unfinished beside it is
cleared by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fspo.errors import FspoError
from fspo.known_faults import is_full, is_too_large

try:
    import fcntl
except ImportError:  # Windows: nothing is cleared there, since nobody knows who is alive
    fcntl = None  # type: ignore[assignment]

# Beside `name`, while it is replaced: `.name.RANDOM.new`, and what was there as `.name.RANDOM.old`.
# A folder that somebody stands in is filled where it is: what it held goes into `.moving`, which
# is `.moved` from when all of it is there.
_DAY = 86_400.0  # seconds
_NEW, _OLD, _MOVING, _MOVED = ".new", ".old", ".moving", ".moved"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write a file to, and renames it when all went well.

    Raises:
        FspoError: if the disk is full or the folder cannot be written; `path` is as it was.
    """
    with named_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        with _claimed(path, folder=False) as temporary:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: whatever was at `path` is replaced once the new one is complete.

    The old one is renamed aside, the new one renamed in, and only then the old one removed. The
    current folder stays the folder that it is, so that a shell in it sees what was written: its
    files are moved instead.
    """
    path = Path(os.path.realpath(path))  # so that "." has a name, and a link stays one
    with named_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        heal(path)
        _clear(path)
        with _claimed(path, folder=True) as temporary:
            yield temporary
            follow_umask(temporary)
            _sync_all(temporary)
            _exchange(temporary, path)


def heal(path: Path) -> None:
    """Ends the replacing of a folder whose process was killed between two renames.

    Does nothing where there is nothing to end, or a living process is at it.
    """
    path = Path(os.path.realpath(path))
    for new in _beside(path, _NEW):
        if not _exchanging(new):
            continue  # a new one that was never finished
        with contextlib.suppress(OSError), _lock(new) as free:
            if not free or not new.exists():
                continue
            if not new.with_suffix(_OLD).exists():
                _fill(new, path)
            elif not path.exists():
                new.rename(path)
            _sync(path.parent)


def clear_cache(path: Path) -> None:
    """Removes what dead runs left beside `path`, in a folder that holds nothing but a cache.

    Earlier versions held no locks, and gave their files names that somebody's own may have, too:
    such names are removed here alone, and only after a day.
    """
    _clear(path)
    pattern = re.compile(rf"(tmp|\.{re.escape(path.name)}\.)[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and entry.stat().st_mtime < time.time() - _DAY:
                _remove(Path(entry.path))


def follow_umask(folder: Path) -> None:
    """Gives a folder and all in it the permissions that new ones have.

    Temporary folders, and the weights that safetensors writes, are for their owner alone.
    """
    mask = _umask()
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def with_a_name(path: Path) -> Path:
    """Returns `path`, or, for the likes of "." and "..", the path that has a name."""
    return path.resolve() if path.name in ("", "..") else path


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def named_faults(path: Path) -> Iterator[None]:
    """Inside, a full disk or a place that cannot be written is named as `path`.

    Raises:
        FspoError: for these, by whatever library they are noticed.
    """
    try:
        yield
    except FspoError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if is_too_large(error):
            raise FspoError(
                f"{path}: became larger than a file may be here; nothing was written. Raise the "
                "limit (ulimit -f), or take another place."
            ) from error
        if is_full(error):
            raise FspoError(
                f"{path}: the disk is full; nothing was written. Free some space and run again."
            ) from error
        if number in (errno.ENOTEMPTY, errno.EEXIST) and path.is_dir():
            raise FspoError(
                f"{path}: another process wrote this folder at the same time. Run again, or "
                "choose another place with --out."
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise FspoError(
                f"{path}: cannot be written ({os.strerror(number)}). "
                "Choose another place with --out, or change its permissions."
            ) from error
        raise


def _exchange(new: Path, path: Path) -> None:
    """Puts `new` in the place of `path`; if that fails, what was there is there again."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if path.is_dir() and path.samefile(os.curdir):
        new.with_suffix(_MOVING).mkdir()
        _fill(new, path)
        return
    old = new.with_suffix(_OLD)
    with contextlib.suppress(FileNotFoundError):
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    _sync(path.parent)
    _remove(old)


def _fill(new: Path, path: Path) -> None:
    """Moves what `path` holds away and what `new` holds in; begun before, it goes on from there."""
    moving, moved = new.with_suffix(_MOVING), new.with_suffix(_MOVED)
    if moving.is_dir():  # until all of the old files are out, none of the new ones is in
        for held in list(path.iterdir()):
            held.rename(moving / held.name)
        _sync(path)
        moving.rename(moved)
        _sync(path.parent)
    for made in list(new.iterdir()):
        made.rename(path / made.name)
    _sync(path)
    new.rmdir()
    _remove(moved)


def _exchanging(new: Path) -> bool:
    """Returns whether what `new` is to replace has begun to make room: then `new` is complete."""
    return any(new.with_suffix(suffix).exists() for suffix in (_OLD, _MOVING, _MOVED))


@contextmanager
def _claimed(path: Path, folder: bool) -> Iterator[Path]:
    """Makes a new file or folder beside `path` that no other process takes for a dead one's."""
    while True:
        prefix = f".{path.name}."
        if folder:
            temporary = Path(tempfile.mkdtemp(_NEW, prefix, path.parent))
        else:
            handle, name = tempfile.mkstemp(_NEW, prefix, path.parent)
            os.close(handle)
            temporary = Path(name)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_lock(temporary, wait=True))
                if not temporary.exists():  # cleared before it was locked
                    continue
            except FileNotFoundError:
                continue
            try:
                yield temporary
            finally:
                _remove(temporary)
            return


def _clear(path: Path) -> None:
    """Removes what dead processes left beside `path`; it is made whole before."""
    for left in _beside(path, _NEW):
        if _exchanging(left):
            continue  # it is being exchanged, or could not be made whole
        with contextlib.suppress(OSError), _lock(left) as free:
            if free:
                _remove(left)
    for left in [p for suffix in (_OLD, _MOVING, _MOVED) for p in _beside(path, suffix)]:
        # Looked at after the old one was seen: without the new one, it has been replaced.
        if not left.with_suffix(_NEW).exists():
            _remove(left)


def _beside(path: Path, suffix: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(suffix)}")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        return [path.parent / e.name for e in entries if pattern.fullmatch(e.name)]
    return []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextmanager
def _lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Holds a lock on a file or folder itself, which moves with it and ends with its process.

    Gives whether it is held: not where another process has it, or the file system knows no locks.
    """
    if fcntl is None:
        yield False
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(handle)


def _sync_all(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place) / name)
        _sync(Path(place))


def _sync(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk before what follows."""
    if fcntl is None and path.is_dir():
        return  # Windows opens no folders
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # a folder to write in, but not to look into
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # it knows no fsync
            raise
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Makes an empty file that its owner alone can read, for a database to be.

    One that is there is left as it is, but for others' right to read it, which earlier versions
    gave; a right that a group was given is kept where others have none.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # By name alone: to open and close a database that is in use would end SQLite's locks on it.
    for beside in ("", "-wal", "-shm"):
        file = path.with_name(path.name + beside)
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o007 and stat.S_ISREG(found.st_mode) and _is_own(found):
                file.chmod(0o600)


def _is_own(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
