"""The one exception for what a user can put right, and what its messages quote."""

from __future__ import annotations

import reprlib


class FspoError(Exception):
    """Something about the input, the machine or the settings that the user can put right.

    The message names the file, row or field at fault and says what to do. The command line prints
    it without a traceback and exits with code 2.
    """


def excerpt(value: object, most: int = 100) -> str:
    """Returns a value as Python writes it, cut to about `most` characters.

    A message quotes what it complains about, and that may be a file's three million characters, or
    lists a thousand deep: neither is written out in full even for a moment.
    """
    short = reprlib.Repr()
    short.maxstring = short.maxother = most
    short.maxlevel = 3
    return cut(short.repr(value), most)


def cut(text: str, most: int = 200) -> str:
    """Returns the beginning of a text, with "..." where there was more."""
    return text if len(text) <= most else text[: most - 3] + "..."


def first_line(error: BaseException) -> str:
    """Returns what somebody else's exception says, in one line of at most 300 characters.

    It has no full stop at its end, and none of a database statement's parameters.
    """
    own = getattr(error, "orig", None)  # SQLAlchemy's own words hold the rows, too
    try:
        lines = str(own if isinstance(own, BaseException) else error).strip().splitlines()
    except Exception:  # a library's own fault in telling of its fault
        lines = []
    words = " ".join(lines[0].split()) if lines else type(error).__name__
    return cut(words.rstrip(". "), 300)


class ServerError(FspoError):
    """A model server that gave no answer, or refused one.

    Attributes:
        status: the HTTP status for whoever asked through us; 5xx and 429 are worth another try.
        public: the message for them, which names neither the server nor its key.
        logged: the message for a log, which holds nobody's texts.
    """

    def __init__(self, message: str, status: int, public: str, logged: str) -> None:
        super().__init__(message)
        self.status, self.public, self.logged = status, public, logged
