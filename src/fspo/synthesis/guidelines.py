"""Guidelines for one user: what a labeller looks for, written by a model from the description.

A label depends on the user's description and on guidelines for that user (the paper, section on
structure); the domain's own guidelines hold for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from fspo.llm.asking import ask_readable
from fspo.llm.quoting import sentences
from fspo.llm.requests import LanguageModel, Request

TRIES = 3
LONGEST = 60  # words


def guide(
    people: Sequence[str], everybody: str, thinker: LanguageModel, description: str = ""
) -> list[str]:
    """Has guidelines written for each user.

    Args:
        people: the users' descriptions as they are now.
        everybody: the domain's guidelines.
        thinker: who writes.
        description: what progress is shown as.

    Returns:
        In the order of `people`; a user's guidelines are empty if the thinker wrote nothing that
        can be used.
    """
    requests = [_request(person, everybody) for person in people]
    found = ask_readable(thinker, requests, read_guidelines, TRIES, description)
    return [text or "" for text, _ in found]


def _request(person: str, everybody: str) -> Request:
    text = (
        f"About a person we know this: {person}\n\n"
        f"Somebody else will choose answers for this person. {everybody}\n\n"
        "Tell them in one or two short sentences what this person looks for in an answer. Begin "
        'with "Prefer".'
    )
    return Request((("user", text),), 64, temperature=0.8, top_p=0.95, purpose="guidelines")


def read_guidelines(text: str) -> str | None:
    """At most two whole sentences of a model's answer, on one line, or None if there are none."""
    return sentences(text, 2, LONGEST)
