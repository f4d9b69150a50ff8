"""Conversations as one question: what a template has a place for."""

from __future__ import annotations

from fspo.assistant.backend import Messages
from fspo.errors import FspoError

ROLES = ("system", "user", "assistant")


def check_messages(messages: Messages) -> None:
    """Makes sure that a conversation can be answered.

    Raises:
        FspoError: if it is empty, a role is unknown, or the last message is not the user's.
    """
    for message in messages:
        if message["role"] not in ROLES:
            raise FspoError(f"role {message['role']!r} is unknown: use {', '.join(ROLES)}")
    if not messages or messages[-1]["role"] != "user":
        raise FspoError("messages: the last one must have the role 'user'; it is what is answered")


def as_question(messages: Messages) -> str:
    """The single message of a user as it stands; a longer conversation as a transcript.

    Raises:
        FspoError: as `check_messages`.
    """
    check_messages(messages)
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
