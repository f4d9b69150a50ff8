"""A real HTTP server that speaks the chat API, on a thread: as slow and as faulty as a test likes.

What it answers depends on what it is asked and nothing else; faults come in turn.
"""

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from math import log

TRUE, ABSENT = object(), object()
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


def openai_form(name: str) -> tuple[int, object]:
    """How OpenAI's server refuses a setting."""
    advice = " Use 'max_completion_tokens'." if name == "max_tokens" else ""
    return 400, {"error": {"message": f"Unsupported parameter: '{name}'.{advice}"}}


def expected(messages: list[dict], seed: int) -> str:
    """What the server answers."""
    return sha256((json.dumps(messages) + str(seed)).encode()).hexdigest()[:12]


@dataclass
class ChatServer:
    """Use as a context manager; `url` is its address.

    Attributes:
        latency: seconds until an answer.
        faults: what every n-th request gets instead of an answer, in turn: "429", "500", "drop",
            "hang", "html", "shape", "choiceless" or
            "json".
        every: n.
        key: requests with another key are refused.
        port: where it listens; 0 for any.
        logprobs: whether it gives log-probs.
        refuses: settings that it does not know.
        text: what it answers to messages and a seed.
        share: the probability of A against B, where log-probs are wanted.
        form: how it says that it refuses a setting: a status and a body.
        manner: the status and the body that a request gets in the place of an answer, if any.
        limit: requests that it answers in a second, if any; others get 429.
        retry_after: the header that comes with a 429 or a 503, if any.
        finish: the reason why an answer ended.
        usage: what stands in the place of `usage`: TRUE for what was used, ABSENT for nothing.
    """

    latency: float = 0.0
    faults: tuple[str, ...] = ()
    every: int = 0
    key: str = "secret-key"
    port: int = 0
    logprobs: bool = True
    refuses: tuple[str, ...] = ()
    text: Callable[[list[dict], int], str] = expected
    share: Callable[[list[dict]], float] = lambda messages: 7 / 9
    usage: object = TRUE
    form: Callable[[str], tuple[int, object]] = openai_form
    manner: Callable[[dict], tuple[int, object] | None] = lambda body: None
    limit: float = 0.0
    retry_after: str | None = "0"
    finish: Callable[[list[dict]], str] = lambda messages: "stop"
    recent: deque = field(default_factory=deque)
    answered: Counter = field(default_factory=Counter)  # by content
    requests: int = 0
    busy: int = 0
    most_busy: int = 0
    bodies: list = field(default_factory=list)
    starts: list = field(default_factory=list)

    def __enter__(self) -> "ChatServer":
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(
                    line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
                )
                if head.startswith("GET"):  # whether it is there
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    await writer.drain()
                    continue
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                self.starts.append(time.monotonic())
                try:
                    keeps = await self._respond(headers, body, writer)
                finally:
                    self.busy -= 1
                if not keeps:
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.close()

    async def _respond(self, headers: dict, body: dict, writer: asyncio.StreamWriter) -> bool:
        self.requests += 1
        self.bodies.append(body)
        fault = ""
        if self.every and self.requests % self.every == 0:
            fault = self.faults[(self.requests // self.every) % len(self.faults)]
        if fault == "drop":
            return False
        if fault == "hang":
            await asyncio.sleep(60)
        await asyncio.sleep(self.latency)
        status, text, kind = self._answer(headers, body, fault)
        data = text.encode()
        waits = status in (429, 503, 529) and self.retry_after is not None
        retry = f"retry-after: {self.retry_after}\r\n" if waits else ""
        if 300 <= status < 400:
            retry = f"location: {text}\r\n"
        writer.write(
            f"HTTP/1.1 {status} {REASONS.get(status, 'Fault')}\r\ncontent-type: {kind}\r\n{retry}"
            f"content-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await writer.drain()
        return True

    def _answer(self, headers: dict, body: dict, fault: str) -> tuple[int, str, str]:
        kind = "application/json"
        if headers.get("authorization", "") != f"bearer {self.key}":
            sent = headers.get("authorization", "")
            return 401, json.dumps({"error": {"message": f"bad key {sent}"}}), kind
        if body["model"] == "unknown":
            return 404, json.dumps({"error": {"message": "no such model"}}), kind
        for name in self.refuses:
            if name in body:
                status, told = self.form(name)
                return status, told if isinstance(told, str) else json.dumps(told), kind
        if (found := self.manner(body)) is not None:
            status, told = found
            return status, told if isinstance(told, str) else json.dumps(told), kind
        if self.limit:
            now = time.monotonic()
            while self.recent and self.recent[0] <= now - 1:
                self.recent.popleft()
            if len(self.recent) >= self.limit:
                return 429, json.dumps({"error": {"message": "too many requests"}}), kind
            self.recent.append(now)
        if fault in ("429", "500"):
            return int(fault), json.dumps({"error": {"message": "later"}}), kind
        if fault == "html":
            return 200, f"<html><body>{'Sorry. ' * 200}</body></html>", "text/html"
        if fault == "shape":
            return 200, json.dumps({"result": "something else"}), kind
        if fault == "json":
            return 200, '{"choices": [{"mess', kind
        content = json.dumps(body["messages"]) + str(body.get("seed", 0))
        self.answered[content] += 1
        choice = {"index": 0, "finish_reason": self.finish(body["messages"])}
        if body.get("logprobs") and self.logprobs:
            one, other = 0.9 * (share := self.share(body["messages"])), 0.9 * (1 - share)
            top = [("A", one / 2), (" A", one / 2), ("B", other), ("the", 0.1)]
            tokens = [{"token": t, "logprob": log(p), "bytes": None} for t, p in top]
            first = tokens[0] | {"top_logprobs": tokens}
            choice |= {"logprobs": {"content": [first]}}
            text = "A" if share > 0.5 else "B"
        else:
            text = self.text(body["messages"], body.get("seed", 0))
        message = {"role": "assistant", "content": text}
        written = min(5, body.get("max_tokens") or body.get("max_completion_tokens") or 5)
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": written,
            "total_tokens": 10 + written,
        }
        whole = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice | {"message": message}],
            "usage": usage if self.usage is TRUE else self.usage,
        }
        if self.usage is ABSENT:
            del whole["usage"]
        if fault == "choiceless":
            whole["choices"] = []
        if body.get("stream"):
            return 200, _streamed(whole, text, choice["finish_reason"]), "text/event-stream"
        return 200, json.dumps(whole), kind


def _streamed(whole: dict, text: str, finish: str) -> str:
    """A completion as the events of a stream, in two pieces."""
    half = len(text) // 2
    chunk = whole | {"object": "chat.completion.chunk", "usage": None}
    deltas = [({"content": text[:half]}, None), ({"content": text[half:]}, None), ({}, finish)]
    chunks = [
        chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in deltas
    ]
    last = chunk | {"choices": [], "usage": whole.get("usage")}
    return "".join(f"data: {json.dumps(c)}\n\n" for c in [*chunks, last]) + "data: [DONE]\n\n"
