"""Writing files so that nothing half-written is ever seen: to a temporary name, then renamed."""

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fspo.errors import FspoError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write a file to, and renames it when all went well.

    Raises:
        FspoError: if the disk is full or the folder cannot be written; `path` is as it was.
    """
    with _named_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: whatever was at `path` is replaced once the new one is complete."""
    with _named_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def make_private(path: Path) -> None:
    """Makes an empty file that its owner alone can read, for a database to be.

    One that is there is left as it is, but for others' right to read it, which earlier versions
    gave; a right that a group was given is kept where others have none.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # By name alone: to open and close a database that is in use would end SQLite's locks on it.
    for beside in ("", "-wal", "-shm"):
        file = path.with_name(path.name + beside)
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o007 and stat.S_ISREG(found.st_mode) and _is_own(found):
                file.chmod(0o600)


def _is_own(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FspoError(
                f"{path}: the disk is full; nothing was written. Free some space and run again."
            ) from error
        if error.errno in (
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EEXIST,
        ):
            raise FspoError(
                f"{path}: cannot be written ({error.strerror}). "
                "Choose another place with --out, or change its permissions."
            ) from error
        raise
