"""The one exception for what a user can put right."""


class FspoError(Exception):
    """Something about the input, the machine or the settings that the user can put right.

    The message names the file, row or field at fault and says what to do. The command line prints
    it without a traceback and exits with code 2.
    """


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
