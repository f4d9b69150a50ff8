"""Ends a run that failed: one line on what to do, or a pointer to a log file."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from fspo.errors import FspoError, first_line
from fspo.known_faults import all_behind, explain

LOGS_KEPT = 10
_LONGEST_LINE = 2000  # characters: a whole data file in one message helps nobody
_MOST_FRAMES = 60


def tell(error: BaseException) -> int:
    """Prints what `error` means as one line to standard error.

    Returns:
        The exit code: 2 for what a person can put right, 1 for what nobody has foreseen, whose
        traceback is written to a log file, and 130 after Ctrl-C.
    """
    if isinstance(error, KeyboardInterrupt):
        complain("interrupted")
        return 130
    line = explain(error)
    if line and isinstance(error, FspoError | OSError):
        complain(line)
        return 2
    log = write_log(error)
    if line:
        complain(line + (f" (Details: {log})" if log else ""))
        return 2
    kind = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
    if log:
        complain(f"unexpected fault ({kind}); the details are in {log}; please report it")
    else:  # nowhere to write: better here than nowhere
        with contextlib.suppress(OSError, ValueError):
            print(details(error), file=sys.stderr)
        complain(f"unexpected fault ({kind}); the details are above; please report it")
    return 1


def complain(message: str) -> None:
    """Prints one line to standard error, whatever signs the message holds."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[:_LONGEST_LINE]} …"
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        print(f"fspo: {shown}", file=sys.stderr, flush=True)


def write_log(error: BaseException) -> Path | None:
    """Writes the traceback to a file that only its owner can read; a few are kept.

    Returns:
        Where it is; None if it can be written nowhere.
    """
    for folder in _log_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="fspo-fault-", suffix=".log", dir=folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(details(error))
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            _clear_old(folder)
            return Path(name)
    return None


def details(error: BaseException) -> str:
    """Returns the tracebacks of `error` and of what led to it.

    No more is said of the command than its name, and no more of a message than its first line:
    the rest may be somebody's text.
    """
    from fspo import __version__

    python = f"Python {platform.python_version()} on {platform.system()}"
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    parts = []
    for one in all_behind(error):
        frames = traceback.format_tb(one.__traceback__)
        if len(frames) > _MOST_FRAMES:
            half = _MOST_FRAMES // 2
            frames = [*frames[:half], "  ...\n", *frames[-half:]]
        name = f"{type(one).__module__}.{type(one).__qualname__}"
        parts.append(f"{name}: {first_line(one)}\n{''.join(frames)}")
    return f"fspo {__version__} {command}, {python}\n\n" + "\nwhich came of\n\n".join(parts)


def _log_folders() -> Iterator[Path]:
    from platformdirs import user_log_path

    with contextlib.suppress(RuntimeError, KeyError):  # a user without a home
        yield user_log_path("fspo")
    yield Path(tempfile.gettempdir())


def _clear_old(folder: Path) -> None:
    logs = []
    for path in folder.glob("fspo-fault-*.log"):
        with contextlib.suppress(OSError):
            stat = path.stat()
            if stat.st_uid == os.getuid():
                logs.append((stat.st_mtime_ns, path))
    for _, path in sorted(logs)[:-LOGS_KEPT]:
        path.unlink(missing_ok=True)
