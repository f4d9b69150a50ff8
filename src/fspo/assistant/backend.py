"""The interface of what writes the assistant's answers: a policy in this process, or a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference

Messages = Sequence[Mapping[str, str]]  # `role` (system, user, assistant) and `content`


@dataclass(frozen=True)
class Person:
    """The person who is answered, as far as a backend knows.

    Attributes:
        key: of the profile: caches are kept and salted by it. It is never shown to a model.
        shots: the choices that stand, newest last.
        description: what RAT or the person wrote; "" for none.
    """

    key: str
    shots: Sequence[Preference] = ()
    description: str = ""


@dataclass
class Reply:
    """An answer on its way: `pieces` yields its text, and the rest is known when that has ended.

    Attributes:
        pieces: of the text, in order; closing it early ends the work.
        finish_reason: "stop", or "length" where `max_tokens` cut it off.
        prompt_tokens: how many were read, cached ones included.
        cached_tokens: how many of these were read before, for this person.
        completion_tokens: how many were written.
    """

    pieces: Iterator[str]
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Abilities:
    """The abilities of a backend beside answering."""

    describes: bool = False  # writes descriptions of a person (RAT)
    models: Sequence[str] = field(default_factory=tuple)  # the names it answers to


class Backend(Protocol):
    """Whatever writes the answers. Its methods may be called from several threads at once."""

    abilities: Abilities

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        """Answers the last message as this person would like it.

        Raises:
            FspoError: if the conversation does not fit, or a role is unknown.
        """

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        """Answers as the model does that the policy started from, knowing nobody."""

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        """The person's implicit reward of each answer; only differences mean something.

        Raises:
            FspoError: if this backend cannot, as a model that is no policy.
        """

    def choose(
        self, person: Person, candidates: Sequence[Preference], seed: int
    ) -> tuple[int, bool]:
        """Returns which pair to ask about next, and whether information gain chose it."""

    def describe(self, person: Person) -> str:
        """A description of the person, written from the shots; "" where it cannot."""

    def forget(self, key: str) -> None:
        """Drops whatever is kept in memory of this profile."""
