"""The one exception for what a user can put right."""


class FspoError(Exception):
    """Something about the input, the machine or the settings that the user can put right.

    The message names the file, row or field at fault and says what to do. The command line prints
    it without a traceback and exits with code 2.
    """
