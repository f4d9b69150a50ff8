"""Answers by a model on any OpenAI-compatible server, which is shown a person's choices.

What is known of the person is one system message before the conversation. It stays the same byte
for byte as long as the profile does, and while there are few choices it grows at its end, so that a
server that keeps prefixes reads only what is new.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from fspo.assistant.backend import Abilities, Messages, Person, Reply, Sampling
from fspo.assistant.conversation import check_messages
from fspo.errors import FspoError
from fspo.learning.templates import DESCRIPTION, DISPREFERRED, chain, neutralize
from fspo.preferences.records import Preference

SHOTS = 8  # the choices that are shown, the last ones
TIMEOUT = 120.0  # seconds between two pieces of an answer

_TASK = (
    "Answer as one person would like it. What follows is what this person preferred so far; "
    "learn from it how to answer, and do not speak of it.\n\n"
)


def profile_text(person: Person) -> str:
    """What a model is told of a person: the last choices as a chain, and the description.

    No line that somebody else wrote can pass for one of its headings. Without choices and
    description it is "".
    """
    shots = person.shots[max(0, len(person.shots) - SHOTS) :]
    told = f"{DESCRIPTION}{neutralize(person.description)}" if person.description.strip() else ""
    written = "".join(
        f"{block.lead}{block.chosen}{DISPREFERRED}{block.rejected}" for block in chain(shots)
    )
    return _TASK + (written + told).lstrip("\n") if written or told else ""


class RemoteBackend:
    """A model on a server, by the official `openai` client."""

    def __init__(
        self, base_url: str, model: str, api_key: str | None = None, *, salt: bool = False
    ) -> None:
        """Nothing is sent until something is asked.

        Args:
            base_url: where the server is, such as `http://127.0.0.1:8000/v1`.
            model: the model's name there.
            api_key: sent to the server, and told to nobody else; None for a server without keys.
            salt: send a `cache_salt`, another one for each profile, so that the server keeps their
                prefixes apart. vLLM takes it; others may refuse it.
        """
        from openai import OpenAI

        self._model, self._key, self._salt = model, api_key or "none", salt
        self._client = OpenAI(api_key=self._key, base_url=base_url, timeout=TIMEOUT)
        parts = urlsplit(base_url)
        self._name = f"{model}@{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        self._limit = "max_tokens"  # or "max_completion_tokens", in the place of which some want
        self.abilities = Abilities(models=(model,))

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        """Answers the conversation behind what is known of the person.

        Raises:
            FspoError: if a role is unknown, the last message is not the user's, or, once pieces
                are read, if the server fails.
        """
        check_messages(messages)
        known = profile_text(person)
        first = [{"role": "system", "content": known}] if known else []
        more = {"cache_salt": _salt(person.key)} if self._salt else {}
        return self._reply([*first, *messages], sampling, more)

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        """Answers the conversation as it stands.

        Raises:
            FspoError: as `reply`.
        """
        check_messages(messages)
        return self._reply(messages, sampling, {})

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        """Nothing: a server does not tell.

        Raises:
            FspoError: always.
        """
        raise FspoError(
            f"{self._name}: a model on a server has no reward of answers; give a policy"
        )

    def choose(
        self, person: Person, candidates: Sequence[Preference], seed: int
    ) -> tuple[int, bool]:
        """Any pair, by chance.

        Raises:
            FspoError: if there are no candidates.
        """
        if not candidates:
            raise FspoError("there is no pair left to ask about")
        return random.Random(seed).randrange(len(candidates)), False

    def describe(self, person: Person) -> str:
        """Nothing."""
        return ""

    def forget(self, key: str) -> None:
        """Does nothing: here nothing is kept, and what a server keeps is its own."""

    def _reply(self, messages: Messages, sampling: Sampling, more: dict[str, str]) -> Reply:
        reply = Reply(iter(()))
        reply.pieces = self._pieces(reply, messages, sampling, more)
        return reply

    def _pieces(
        self, reply: Reply, messages: Messages, sampling: Sampling, more: dict[str, str]
    ) -> Iterator[str]:
        with self._faults_told():
            stream = self._start(self._settings(messages, sampling), sampling.max_tokens, more)
            reply.finish_reason = "length"  # until the server says that it was finished
            try:
                for chunk in stream:
                    _count(reply, chunk.usage)
                    for choice in chunk.choices[:1]:
                        if choice.finish_reason:
                            cut = choice.finish_reason == "length"
                            reply.finish_reason = "length" if cut else "stop"
                        if text := (choice.delta and choice.delta.content):
                            # JSON can hold half a character, and nothing else can.
                            yield text.encode(errors="replace").decode()
            finally:
                stream.close()

    def _settings(self, messages: Messages, sampling: Sampling) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": self._model,
            "messages": [dict(message) for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            settings["seed"] = sampling.seed
        return settings

    def _start(self, settings: dict[str, Any], limit: int, more: dict[str, str]) -> Any:
        from openai import BadRequestError

        create: Any = self._client.chat.completions.create
        try:
            return create(**settings, **{self._limit: limit}, extra_body=more)
        except BadRequestError as error:
            if self._limit != "max_tokens" or "max_completion_tokens" not in str(error):
                raise
        self._limit = "max_completion_tokens"
        return create(**settings, **{self._limit: limit}, extra_body=more)

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        """Inside, what goes wrong on the way becomes one line, without the key.

        Raises:
            FspoError: for what the server or the network did.
        """
        try:
            yield
        except Exception as error:  # also of the HTTP library below the client, and no JSON
            told = " ".join(str(error).split()) or type(error).__name__
            told = told.replace(self._key, "[key]") if self._key != "none" else told
            told = told if len(told) <= 160 else f"{told[:160]}…"
            raise FspoError(f"{self._name}: the server gave no answer: {told}") from None


def _count(reply: Reply, usage: Any) -> None:
    """Takes over what a server says that it read and wrote; most say it at the end."""
    if usage is None:
        return
    reply.prompt_tokens = usage.prompt_tokens or 0
    reply.completion_tokens = usage.completion_tokens or 0
    reply.cached_tokens = getattr(usage.prompt_tokens_details, "cached_tokens", 0) or 0


def _salt(key: str) -> str:
    return hashlib.sha256(f"fspo profile {key}".encode()).hexdigest()
