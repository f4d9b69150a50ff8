"""Answers by a model on any OpenAI-compatible server, which is shown a person's choices.

What is known of the person is one system message before the conversation. It stays the same byte
for byte as long as the profile does, and while there are few choices it grows at its end, so that a
server that keeps prefixes reads only what is new.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import chain as chained
from typing import Any
from urllib.parse import urlsplit

from fspo.assistant.backend import Abilities, Messages, Person, Reply
from fspo.assistant.conversation import check_messages
from fspo.errors import FspoError, ServerError
from fspo.learning.templates import DESCRIPTION, DISPREFERRED, chain, neutralize
from fspo.llm.clients import server_name, sync_client
from fspo.llm.completions import count
from fspo.llm.faults import WITHHELD, ErrorReply, Fault, fault_of
from fspo.llm.sampling import Sampling
from fspo.llm.settings import Settings, Trial
from fspo.llm.thinking import spoken
from fspo.preferences.records import Preference

SHOTS = 8  # the choices that are shown, the last ones
TIMEOUT = 120.0  # seconds between two pieces of an answer

_TASK = (
    "Answer as one person would like it. What follows is what this person preferred so far; "
    "learn from it how to answer, and do not speak of it.\n\n"
)


def profile_text(person: Person) -> str:
    """Returns what a model is told of a person: the last choices as a chain, and the description.

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

        Raises:
            FspoError: if nothing can be sent to such an address, or with such a key.
        """
        self._model, self._key, self._salt = model, api_key or "none", salt
        self._name = server_name(model, base_url, self._key)
        self._client = sync_client(self._name, self._key, base_url, TIMEOUT)
        self._hosts = [urlsplit(base_url).netloc, urlsplit(base_url).hostname]
        self._settings = Settings(self._name)
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
        trial = self._settings.trial(self._whole(messages, sampling))
        said = False
        try:
            stream, chunks = self._start(trial, more)
            reply.finish_reason = "length"  # until the server says that it was finished
            try:
                for text in spoken(_texts(chunks, reply)):
                    said = True
                    # JSON can hold half a character, and nothing else can.
                    yield text.encode(errors="replace").decode()
            finally:
                stream.close()
        except Exception as error:  # also of the HTTP library below the client, and no JSON
            raise self._told(fault_of(error, self._key)) from None
        if not said and reply.finish_reason == "length" and reply.completion_tokens:
            raise self._told(
                Fault(400, "the answer reached max_tokens before it began; ask for more of them")
            )

    def _whole(self, messages: Messages, sampling: Sampling) -> dict[str, Any]:
        """All that a server may be told of a request."""
        settings: dict[str, Any] = {
            "model": self._model,
            "messages": [dict(message) for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            settings["seed"] = sampling.seed
        return settings

    def _start(self, trial: Trial, more: dict[str, str]) -> tuple[Any, Iterator[Any]]:
        """The stream of an answer, to be closed, and its chunks, of which the first is there."""
        create: Any = self._client.chat.completions.create
        while True:
            stream = None
            try:
                stream = create(**trial.body, extra_body=more)
                chunks = _chunks(stream)
                first = next(chunks, None)
                if first is None:
                    raise ErrorReply({"error": {"message": "a reply that is no stream"}})
            except Exception as error:
                if stream is not None:
                    stream.close()
                fault = fault_of(error, self._key)
                if fault.is_too_long or not trial.leaves_out(fault):
                    raise
            else:
                trial.taken()
                return stream, chained([first], chunks)

    def _told(self, fault: Fault) -> ServerError:
        """Returns what went wrong: for whoever runs this, for whoever asked, and for a log."""
        words = f"status {fault.status}: {fault.words}" if fault.status else fault.words
        status, public = _passed_on(fault)
        if status == 400:
            shown = fault.words
            for host in filter(None, self._hosts):
                shown = shown.replace(host, "[server]")
            public = f"{public}: {shown}"
        logged = f"status {fault.status}" if fault.status else fault.words
        opening = f"{self._name}: the server gave no answer: "
        return ServerError(opening + words, status, public, opening + logged)


def _chunks(stream: Any) -> Iterator[Any]:
    """The chunks of a stream.

    Raises:
        ErrorReply: if the server has sent something else than a stream.
    """
    kind = stream.response.headers.get("content-type", "")
    if "json" in kind or "html" in kind:
        response = stream.response
        response.read()
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        is_error = isinstance(body, dict) and body.get("error")
        told = body if is_error else {"error": {"message": "a reply that is no stream"}}
        raise ErrorReply(told)
    yield from stream


def _texts(chunks: Iterator[Any], reply: Reply) -> Iterator[str]:
    """The text of an answer as it comes; `reply` is told how it ends and what it took.

    Raises:
        ErrorReply: if the server withholds the answer.
    """
    said = False
    for chunk in chunks:
        _count(reply, getattr(chunk, "usage", None))
        for choice in (chunk.choices or [])[:1]:
            if text := (choice.delta and choice.delta.content):
                said = True
                yield text
            if choice.finish_reason:
                if choice.finish_reason in WITHHELD and not said:
                    told = {"message": f"the answer was withheld ({choice.finish_reason})"}
                    raise ErrorReply({"error": told | {"code": "content_filter"}})
                cut = choice.finish_reason == "length"
                reply.finish_reason = "length" if cut else "stop"


def _passed_on(fault: Fault) -> tuple[int, str]:
    """The status and the message for whoever asked through us."""
    ours = (401, 402, 403, 404, 405, 408, 409, 429)  # what only who runs this can mend, or time
    refused = 400 <= fault.status < 500 and fault.status not in ours
    if refused or fault.is_too_long or fault.is_filtered:
        return 400, "the model server refuses the request"
    if fault.status in (0, 408, 503, 504, 529):
        return 503, "the model server cannot be reached, or is busy; try again later"
    if fault.asks_to_slow_down:
        return 429, "the model server is asked too much at the moment; try again later"
    return 502, "the model server gave no answer; whoever runs this can see why"


def _count(reply: Reply, usage: Any) -> None:
    """Takes over what a server says that it read and wrote; most say it at the end."""
    details = getattr(usage, "prompt_tokens_details", None)
    for name, told in (
        ("prompt_tokens", getattr(usage, "prompt_tokens", None)),
        ("completion_tokens", getattr(usage, "completion_tokens", None)),
        ("cached_tokens", getattr(details, "cached_tokens", None)),
    ):
        if (tokens := count(told)) is not None:
            setattr(reply, name, tokens)


def _salt(key: str) -> str:
    return hashlib.sha256(f"fspo profile {key}".encode()).hexdigest()
