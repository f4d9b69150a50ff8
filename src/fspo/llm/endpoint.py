"""Any OpenAI-compatible chat server, through the `openai` client: many requests at once.

A request that fails for a reason that passes (too many requests, a fault of the server, a time-out,
a dropped connection, a reply of the wrong shape) is tried again after a while; while it waits,
another has its place on the wire. When nothing more can be asked, what is under way is paid for, so
it is waited for and kept before the error is raised.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from math import exp
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fspo.console import say
from fspo.errors import FspoError
from fspo.llm.meter import Meter, tokens_at_most
from fspo.llm.requests import Reply, Request
from fspo.llm.wire import Wire

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TRIES = 8
FIRST_WAIT = 0.5  # seconds, at most; twice as much after every further try
LONGEST_WAIT = 30.0
FIRST_TRIES = 3  # as long as the server has answered nothing: somebody waits to be told
MOST_TOKENS = 10_000_000  # that one answer can have read or written; more is no number of tokens
ON_THE_WAY = 4  # requests in work for each place on the wire: those that wait leave none empty

_PASSING = (408, 409, 429)  # and 5xx: what may be gone on another try
# What a server may refuse by naming it: probabilities, a schema, and `max_tokens`, in the place of
# which some want `max_completion_tokens`.
_DISPENSABLE = ("logprobs", "response_format", "max_completion_tokens")
_ADVICE = {
    400: "does not accept the request",
    401: "refuses the key: put the right one into its environment variable",
    403: "refuses the key: put the right one into its environment variable",
    404: "knows no such model or address: check `model` and `base_url`",
    422: "does not accept the request",
}


class MalformedError(Exception):
    """A reply that is no chat completion.

    Attributes:
        lost: tokens read and written that have to be paid for nevertheless.
    """

    lost = (0, 0)


class Endpoint:
    """A model on a server."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        concurrency: int = 32,
        requests_per_minute: float | None = None,
        timeout: float = 60.0,
        tries: int = TRIES,
        meter: Meter | None = None,
    ) -> None:
        """Nothing is sent until something is asked.

        Args:
            model: the model's name on the server.
            api_key: sent to the server, and written nowhere.
            base_url: where the server is; None for the client's own default.
            concurrency: how many requests are on the wire at once.
            requests_per_minute: how many are started, at most; None for no limit.
            timeout: seconds to wait for an answer.
            tries: how often a request is tried.
            meter: counts what is asked, and holds the purse.
        """
        self._model = model
        self._key = api_key
        self._base_url = base_url
        self._concurrency = concurrency
        self._pause = 60 / requests_per_minute if requests_per_minute else 0.0
        self._timeout = timeout
        self._tries = tries
        self.meter = meter or Meter()
        self._jitter = random.Random(0)
        self._refused_settings: set[str] = set()
        self._has_answered = False
        self._tells_usage = True

    @property
    def name(self) -> str:
        """The model and its server."""
        parts = urlsplit(self._base_url or "https://api.openai.com/v1")
        host = str(parts.hostname)
        return f"{self._model}@{f'{host}:{parts.port}' if parts.port else host}"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields replies as they come.

        Raises:
            FspoError: if the server refuses, stays out of order, or the budget is used up; what
                was under way is yielded first.
        """
        loop = asyncio.new_event_loop()
        try:
            yield from self._answer(requests, loop)
        finally:
            loop.close()

    def _answer(
        self, requests: Sequence[Request], loop: asyncio.AbstractEventLoop
    ) -> Iterator[list[tuple[int, Reply]]]:
        client, wire = self._client(), Wire(self._concurrency, self._pause)
        waiting = enumerate(requests)
        tasks: dict[asyncio.Task[Reply], int] = {}
        ended: asyncio.Queue[asyncio.Task[Reply]] = asyncio.Queue()
        fault: BaseException | None = None
        try:
            while True:
                while fault is None and len(tasks) < ON_THE_WAY * self._concurrency:
                    if (following := next(waiting, None)) is None:
                        break
                    place, request = following
                    task = loop.create_task(self._reply(client, wire, request))
                    task.add_done_callback(ended.put_nowait)
                    tasks[task] = place
                if not tasks:
                    break
                done = [loop.run_until_complete(ended.get())]
                while not ended.empty():
                    done.append(ended.get_nowait())
                replies = []
                for task in done:
                    place, error = tasks.pop(task), task.exception()
                    if error is None:
                        replies.append((place, task.result()))
                    elif fault is None:
                        fault = error
                        wire.stop()
                if replies:
                    yield replies
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            loop.run_until_complete(client.close())
        if fault is not None:
            raise fault

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            api_key=self._key, base_url=self._base_url, timeout=self._timeout, max_retries=0
        )

    async def _reply(self, client: AsyncOpenAI, wire: Wire, request: Request) -> Reply:
        """Tries until there is an answer."""
        from openai import APIStatusError, OpenAIError

        fault: Exception = MalformedError()
        attempt = 0
        while attempt < (self._tries if self._has_answered else min(FIRST_TRIES, self._tries)):
            try:
                reply = await self._try(client, wire, request)
                self._has_answered = True
                return reply
            except APIStatusError as error:
                if error.status_code in (400, 422) and self._can_do_without(str(error)):
                    pass
                elif error.status_code not in _PASSING and error.status_code < 500:
                    raise self._refused(error.status_code, error) from error
                fault = error
            except (OpenAIError, MalformedError, ValueError) as error:  # also: not JSON
                fault = error
            self.meter.retries += 1
            await wire.pause(self._wait(attempt, fault))
            attempt += 1
        raise FspoError(
            f"{self.name}: no answer after {attempt} tries; at last: {self._told(fault)}. All "
            "answers so far are kept: see to the server, and run again to go on."
        ) from fault

    def _can_do_without(self, told: str) -> bool:
        """Whether a server refuses a setting that is left out from now on."""
        named = {name for name in _DISPENSABLE if name in told}
        self._refused_settings |= named
        return bool(named)

    async def _try(self, client: AsyncOpenAI, wire: Wire, request: Request) -> Reply:
        async with wire.place(request, self.meter) as promised:
            reply: Reply | None = None
            lost = (0, 0)
            try:
                # Not `chat.completions.create`, which takes the request and the reply apart by
                # their types: twice the work for each, and the reply is checked here anyway.
                completion = await client.post(
                    "/chat/completions", cast_to=object, body=self._settings(request)
                )
                reply = self._read(request, completion)
                return reply
            except MalformedError as error:
                lost = error.lost
                raise
            finally:
                self.meter.settle(promised, request, reply, lost)

    def _settings(self, request: Request) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }
        is_refused = "max_completion_tokens" in self._refused_settings
        settings["max_completion_tokens" if is_refused else "max_tokens"] = request.max_tokens
        if request.schema and "response_format" not in self._refused_settings:
            schema = {"name": "answer", "schema": json.loads(request.schema)}
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.choices and "logprobs" not in self._refused_settings:
            settings |= {"logprobs": True, "top_logprobs": 20}
        return settings

    def _read(self, request: Request, completion: Any) -> Reply:
        """The reply in a completion, of which nothing is taken for granted."""
        try:
            choice = completion["choices"][0]
            text = choice["message"].get("content")
            told = (choice.get("logprobs") or {}).get("content") if request.choices else None
            first = told[0]["top_logprobs"] if told else []
            logprobs = [(str(token["token"]), float(token["logprob"])) for token in first]
            if text is not None and not isinstance(text, str):
                raise TypeError
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            malformed = MalformedError("a reply that is no chat completion")
            if isinstance(completion, dict) and {"choices", "usage"} & completion.keys():
                malformed.lost = self._tokens(request, completion, "")
            raise malformed from error
        return Reply(
            _whole(text or ""),
            self._model,
            *self._tokens(request, completion, text or ""),
            _probabilities(request.choices, logprobs),
        )

    def _tokens(self, request: Request, completion: dict[str, Any], text: str) -> tuple[int, int]:
        """How many tokens were read and written.

        Where the server does not say so, or says what cannot be, it is what was set aside: a
        budget has to end a run whatever a server says.
        """
        usage = completion.get("usage")
        told = usage if isinstance(usage, dict) else {}
        read = _count(told.get("prompt_tokens"), least=1)
        written = _count(told.get("completion_tokens"), least=1 if text else 0)
        if read is not None and written is not None:
            return read, written
        if self._tells_usage:
            self._tells_usage = False
            say(
                f"{self.name}: the server does not say how many tokens it used, or says what "
                "cannot be. Such answers are counted, and paid for, at the most that was set "
                "aside for them."
            )
        return tokens_at_most(request)

    def _refused(self, status: int, error: Exception) -> FspoError:
        advice = _ADVICE.get(status, f"answers with status {status}")
        return FspoError(
            f"{self.name}: the server {advice} ({self._told(error)}). All answers are kept."
        )

    def _told(self, error: Exception) -> str:
        """What an error says, shortly, as servers answer with whole pages; never the key."""
        text = " ".join(str(error).split()) or type(error).__name__
        text = text.replace(self._key, "[key]")
        return text if len(text) <= 160 else f"{text[:160]}…"

    def _wait(self, attempt: int, fault: Exception) -> float:
        """Seconds until the next try: what the server asks for, else drawn, ever longer."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
        headers = getattr(getattr(fault, "response", None), "headers", {})
        try:
            asked = min(LONGEST_WAIT, max(0.0, float(headers["retry-after"])))
        except (KeyError, ValueError):
            asked = 0.0
        return asked + self._jitter.uniform(0, longest)


def _count(told: Any, least: int) -> int | None:
    """A number of tokens; None if it is none."""
    is_whole = type(told) is int or (isinstance(told, float) and told.is_integer())
    return int(told) if is_whole and least <= told <= MOST_TOKENS else None


def _whole(text: str) -> str:
    """`text` without half characters, which JSON can hold and a file cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _probabilities(
    choices: Sequence[str], logprobs: Sequence[tuple[str, float]]
) -> tuple[float, ...]:
    """Each choice's share, from the likeliest first tokens; empty if none of them is a choice."""
    weights = [sum(exp(p) for token, p in logprobs if token.strip() == c) for c in choices]
    whole = sum(weights)
    return tuple(weight / whole for weight in weights) if whole else ()
