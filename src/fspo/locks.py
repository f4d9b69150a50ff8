"""One run in a folder at a time: two would write over each other's files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fspo.console import say
from fspo.errors import FspoError

LOCK = ".lock"

# What launchers call the number of a process among all of a job.
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def first_process() -> bool:
    """Returns whether this process is the first of its job, or the only one."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0) == 0


@contextmanager
def only_run(out: Path, beside: bool = False) -> Iterator[None]:
    """Keeps other runs out of a folder for as long as the block takes, or as the process lives.

    Inside the block the same thread may take the folder again: a stage of a run is no other run.
    Of the processes of a job, the first holds the folder for all.

    Args:
        out: the folder; it is made if it is not there.
        beside: put the lock file beside the folder, which the run replaces as a whole.

    Raises:
        FspoError: if another run is at work there, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    if not first_process():
        yield
        return
    out = out.resolve()
    path = out.with_name(f".{out.name}{LOCK}") if beside else out / LOCK
    was_there = path.parent.is_dir()
    # One for each path and thread, which may be taken again.
    lock = FileLock(path, timeout=0, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise FspoError(
            f"{out}: another run is at work in this folder. Wait until it has ended, or take "
            "another --out."
        ) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise FspoError(
                f"{out}: cannot be written ({error.strerror or error}). "
                "Choose another place with --out, or change its permissions."
            ) from error
        say(f"{out}: this file system has no locks: see that no other run uses the folder")
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # before it is let go, so that nobody's lock is taken away
            path.unlink(missing_ok=True)
        lock.release()
        if not was_there:
            with suppress(OSError):  # it holds something by now
                path.parent.rmdir()
