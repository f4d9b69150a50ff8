"""Any OpenAI-compatible chat server, through the `openai` client: many requests at once.

A request that fails for a reason that passes (a fault of the server, a time-out, a dropped
connection, a reply of the wrong shape) is tried again after a while; while it waits, another has
its place on the wire. A server that asks to slow down is asked more slowly, and that is no try. A
setting that it refuses is left out, and a request that it will not answer is given up. When nothing
more can be asked, what is under way is paid for, so it is waited for and kept before the error is
raised.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.llm.clients import async_client, server_name
from fspo.llm.completions import MalformedError, ended_in_thought, read_completion, used
from fspo.llm.faults import ErrorReply, Fault, fault_of
from fspo.llm.meter import Meter
from fspo.llm.pace import Pace
from fspo.llm.refusals import Refusals
from fspo.llm.requests import Reply, Request
from fspo.llm.settings import Settings, Trial
from fspo.llm.wire import Wire

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TRIES = 8
FIRST_WAIT = 0.5  # seconds, at most; twice as much after every further try
LONGEST_WAIT = 30.0  # also of what a server asks for: it may be asked again, and say so again
LONGEST_REFUSED = 900.0  # seconds in which a server only says that there are too many requests
FIRST_TRIES = 3  # as long as the server has answered nothing: somebody waits to be told
ON_THE_WAY = 4  # requests in work for each place on the wire: those that wait leave none empty

_ADVICE = {
    400: "does not accept the request",
    401: "refuses the key: put the right one into its environment variable",
    402: "wants to be paid first",
    403: "refuses the key: put the right one into its environment variable",
    404: "knows no such model or address: check `model` and `base_url`",
    422: "does not accept the request",
    429: "wants to be paid first",
} | dict.fromkeys(range(300, 400), "sends elsewhere: put its own address into `base_url`")
_FOR_GOOD = {401, 402, 404, 405, 429, *range(300, 400)}  # where they do not ask to slow down


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
            meter: counts what is asked, and holds the budget.
        """
        self._model = model
        self._key = api_key
        self._name = server_name(model, base_url, api_key)
        self._base_url = base_url
        self._concurrency = concurrency
        self._pause = 60 / requests_per_minute if requests_per_minute else 0.0
        self._timeout = timeout
        self._tries = tries
        self.meter = meter or Meter()
        self._jitter = random.Random(0)
        self._pace = Pace(concurrency)
        self._settings = Settings(self._name)
        self._refusals = Refusals()
        self._said: set[str] = set()

    @property
    def name(self) -> str:
        """The model and its server."""
        return self._name

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields replies as they come.

        Raises:
            FspoError: if the server refuses everything, stays out of order, or the budget is used
                up; what was under way is yielded first.
        """
        loop = asyncio.new_event_loop()
        try:
            yield from self._answer(requests, loop)
        finally:
            loop.close()

    def _answer(
        self, requests: Sequence[Request], loop: asyncio.AbstractEventLoop
    ) -> Iterator[list[tuple[int, Reply]]]:
        client = async_client(self._name, self._key, self._base_url, self._timeout)
        wire = Wire(self._pace, self._pause)
        waiting = enumerate(requests)
        tasks: dict[asyncio.Task[Reply], int] = {}
        ended: asyncio.Queue[asyncio.Task[Reply]] = asyncio.Queue()
        fault: BaseException | None = None
        refused: list[tuple[int, Reply]] = []  # until an answer shows that it was not for all
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
                    if error is not None:
                        fault = fault or error
                    elif (reply := task.result()).refused:
                        refused.append((place, reply))
                        if self._refusals.are_too_many:
                            fault = fault or self._refused(self._refusals.last)
                    else:
                        replies += [*refused, (place, reply)]
                        refused.clear()
                    if fault is not None:
                        wire.stop()
                if replies:
                    yield replies
            if fault is None and self._refusals.are_all:
                fault = self._refused(self._refusals.last)
            if refused and not (self._refusals.are_too_many or self._refusals.are_all):
                yield refused
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            loop.run_until_complete(client.close())
        if fault is not None:
            raise fault

    async def _reply(self, client: AsyncOpenAI, wire: Wire, request: Request) -> Reply:
        """Asks until there is an answer, or it is clear that this request gets none."""
        trial = self._settings.trial(self._whole(request))
        attempt = 0
        while True:
            found = await self._try(client, wire, request, trial)
            if isinstance(found, Reply):
                return found
            if found.is_too_long:
                return self._given_up(request, found, sure=True)
            if trial.leaves_out(found):
                wait = 0.0
            elif found.asks_to_slow_down:
                self._check_patience(found)  # the wire waits, for all requests
                wait = 0.0
            elif found.is_filtered:
                return self._given_up(request, found, sure=True)
            elif not found.is_passing:
                self._check_for_good(found)
                return self._given_up(request, found, sure=False)
            else:
                attempt += 1
                self._check_tries(attempt, found)
                longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
                asked = min(LONGEST_WAIT, found.wait or 0.0)
                wait = asked + self._jitter.uniform(0, longest)
            self.meter.retries += 1
            if wait:
                await wire.pause(wait)

    async def _try(
        self, client: AsyncOpenAI, wire: Wire, request: Request, trial: Trial
    ) -> Reply | Fault:
        """Asks once."""
        from openai import OpenAIError

        async with wire.place(request, self.meter) as place:
            reply: Reply | None = None
            lost = (0, 0)
            try:
                # Not `chat.completions.create`, which takes the request and the reply apart by
                # their types: twice the work for each, and the reply is checked here anyway.
                completion = await client.post("/chat/completions", cast_to=object, body=trial.body)
                reply = read_completion(request, completion, self._model)
            except (OpenAIError, ErrorReply, MalformedError, ValueError, RecursionError) as error:
                lost = getattr(error, "lost", lost)
                fault = fault_of(error, self._key)
            finally:
                self.meter.commit(place.reserved, request, reply, lost)
            now = asyncio.get_running_loop().time()
            if reply is None:
                if fault.asks_to_slow_down:
                    self._slow_down(place.started, now, fault)
                return fault
        self._pace.went_well()
        trial.taken()
        self._look_at(completion, reply)
        return reply

    def _whole(self, request: Request) -> dict[str, Any]:
        """All that a server may be told of a request."""
        settings: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        }
        if request.schema:
            schema = {"name": "answer", "schema": json.loads(request.schema)}
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.choices:
            settings |= {"logprobs": True, "top_logprobs": 20}
        return settings

    def _look_at(self, completion: Any, reply: Reply) -> None:
        """Counts a reply, and says once what is odd about it."""
        if reply.refused:
            self._refusals.refuse(Fault(200, reply.refused), sure=True)
            return
        self._refusals.answer()
        if used(completion, reply.text) is None:
            self._say_once(
                "the server does not say how many tokens it used, or says what cannot be. Such "
                "answers are counted, and paid for, at the most that was set aside for them."
            )
        if ended_in_thought(completion):
            self._say_once(
                "an answer reached `max_tokens` before it began: the model may have spent them on "
                "reasoning. Ask for more tokens, or turn reasoning off at the server."
            )

    def _say_once(self, told: str) -> None:
        if told not in self._said:
            self._said.add(told)
            say(f"{self.name}: {told}")

    def _slow_down(self, started: float, now: float, fault: Fault) -> None:
        # After a first refusal it is enough to be slower; after further ones, nothing is sent.
        again = self._pace.refusals
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(again - 1, 20)) if again else 0.0
        drawn = self._jitter.uniform(longest / 2, longest)
        hold = drawn if fault.wait is None else min(LONGEST_WAIT, fault.wait)
        self._pace.refused(started, now, hold)
        self._say_once(
            f"the server asks to slow down (status {fault.status}): it is asked less at once from "
            "now on, and more again when it goes well."
        )

    def _check_patience(self, fault: Fault) -> None:
        since = self._pace.refused_since
        if since is not None and time.monotonic() - since > LONGEST_REFUSED:
            raise FspoError(
                f"{self.name}: for {LONGEST_REFUSED / 60:g} minutes the server has only asked to "
                f"slow down; at last: {_told(fault)}. All answers so far are kept: run again to go "
                "on."
            )

    def _check_tries(self, attempt: int, fault: Fault) -> None:
        if attempt >= (self._tries if self._refusals.answered else min(FIRST_TRIES, self._tries)):
            raise FspoError(
                f"{self.name}: no answer after {attempt} tries; at last: {_told(fault)}. All "
                "answers so far are kept: see to the server, and run again to go on."
            )

    def _check_for_good(self, fault: Fault) -> None:
        if fault.status in _FOR_GOOD or (fault.status == 403 and not self._refusals.answered):
            raise self._refused(fault)

    def _given_up(self, request: Request, fault: Fault, sure: bool) -> Reply:
        """Returns what stands for an answer to a request that gets none."""
        self._refusals.refuse(fault, sure)
        self.meter.budget.purposes[request.purpose].answered += 1
        return Reply("", self._model, refused=_told(fault))

    def _refused(self, fault: Fault) -> FspoError:
        advice = _ADVICE.get(fault.status, "does not accept the request")
        counts = self._refusals
        asked = counts.refused + counts.answered
        share = f" {counts.refused} of {asked} requests were refused." if counts.refused else ""
        return FspoError(
            f"{self.name}: the server {advice} ({_told(fault)}).{share} All answers are kept."
        )


def _told(fault: Fault) -> str:
    return f"status {fault.status}: {fault.words}" if fault.status else fault.words
