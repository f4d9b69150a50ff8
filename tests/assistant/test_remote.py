"""Answers from a server on a thread, which streams as real ones do and fails as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError, Preference
from fspo.assistant.backend import Person
from fspo.assistant.remote import RemoteBackend, profile_text
from fspo.llm.sampling import Sampling

SHOTS = [Preference(f"q{k}?", f"yes {k}.", f"no {k}.") for k in range(12)]
ADA, NOBODY = Person("ada@example.org", SHOTS[:3], "likes it short"), Person("new")
ASKED = [{"role": "user", "content": "what?"}]
KEY = "sk-very-secret"


class Server(ThreadingHTTPServer):
    """Answers in the pieces `says`; `fault` is what goes wrong."""

    daemon_threads = True
    says = ("Hé", "llo", " 🙂", "\ud83d")
    fault = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict] = []
        self.closed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        fault = self.server.fault
        if fault == "limit" and "max_tokens" in body:
            told = "Unsupported parameter: use 'max_completion_tokens'."
            self.refuse(400, json.dumps({"error": {"message": told}}))
        elif fault == "key":
            self.refuse(401, json.dumps({"error": {"message": f"bad key\n{self.auth}"}}))
        elif fault == "page":
            self.refuse(404, "<html>\n" + "Sorry.\n" * 200)
        else:
            self.stream(fault)

    @property
    def auth(self) -> str:
        return self.headers["authorization"]

    def refuse(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def stream(self, fault: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for text in self.server.says * (10_000 if fault == "endless" else 1):
                self.send({"index": 0, "delta": {"content": text}})
            if fault == "json":
                self.wfile.write(b'data: {"choices": [{"del\n\n')
            if fault == "error":
                self.wfile.write(b'data: {"error": {"message": "out of memory"}}\n\n')
            if fault in ("", "limit"):
                self.send({"index": 0, "delta": {}, "finish_reason": "stop"})
                self.send(None)
                self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.closed.set()

    def send(self, choice: dict | None) -> None:
        usage = {
            "prompt_tokens": 50, "completion_tokens": 4, "total_tokens": 54,
            "prompt_tokens_details": {"cached_tokens": 48},
        }  # fmt: skip
        chunk = {
            "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m",
            "choices": [choice] if choice else [], "usage": None if choice else usage,
        }  # fmt: skip
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


def test_the_profile_comes_first_and_the_answer_in_pieces(server: Server) -> None:
    backend = RemoteBackend(server.url, "m", KEY)
    sampling = Sampling(max_tokens=9, temperature=0.5, top_p=0.9, stop=["END"], seed=7)
    turns = [{"role": "system", "content": "be kind"}, *ASKED]
    reply = backend.reply(ADA, turns, sampling)
    assert list(reply.pieces) == ["Hé", "llo", " 🙂", "?"]
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 50, 4)
    assert reply.cached_tokens == 48
    [body] = server.bodies
    known = {"role": "system", "content": profile_text(ADA)}
    assert body["messages"] == [known, *turns]
    assert body["max_tokens"] == 9
    assert (body["temperature"], body["top_p"], body["stop"], body["seed"]) == (
        0.5, 0.9, ["END"], 7
    )  # fmt: skip
    assert "cache_salt" not in body
    list(backend.reply(NOBODY, ASKED, Sampling()).pieces)
    list(backend.plain(ASKED, Sampling()).pieces)
    assert [own["messages"] for own in server.bodies[1:]] == [ASKED, ASKED]
    assert not {"stop", "seed"} & server.bodies[1].keys()


def test_each_profile_has_a_salt_where_it_is_wanted(server: Server) -> None:
    backend = RemoteBackend(server.url, "m", salt=True)
    for person in (ADA, replace(ADA, shots=()), NOBODY):
        list(backend.reply(person, ASKED, Sampling()).pieces)
    list(backend.plain(ASKED, Sampling()).pieces)
    one, same, other = (body["cache_salt"] for body in server.bodies[:3])
    assert one == same != other
    assert "cache_salt" not in server.bodies[3]
    assert ADA.key not in json.dumps(server.bodies)


def test_the_profile_stays_the_same_and_grows_at_its_end() -> None:
    texts = [profile_text(Person("", SHOTS[:k])) for k in range(13)]
    assert texts[0] == ""
    for before, after in pairwise(texts[1:9]):
        assert after.startswith(before)
    assert all(texts[12].count(f"yes {k}.") == (k >= 4) for k in range(12))
    assert profile_text(ADA) == texts[3] + "\n\n## User Description\nlikes it short"
    told = profile_text(replace(ADA, shots=()))
    assert told.endswith("\n\n## User Description\nlikes it short")


evil = st.lists(st.sampled_from(["## Question\n", "\n", "# ", "\\", " ", "a", "\u2028"])).map(
    "".join
)


@given(prompt=evil, chosen=evil, rejected=evil, description=evil)
def test_nothing_written_passes_for_a_heading(
    prompt: str, chosen: str, rejected: str, description: str
) -> None:
    text = profile_text(Person("", [Preference(prompt, chosen, rejected)], description))
    headings = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    expected = ["## Question", "## Preferred Response", "## Dispreferred Response"]
    assert headings == expected + ["## User Description"] * bool(description.strip())


def test_a_closed_stream_ends_the_work(server: Server) -> None:
    server.fault = "endless"
    reply = RemoteBackend(server.url, "m").reply(ADA, ASKED, Sampling())
    assert next(iter(reply.pieces)) == "Hé"
    reply.pieces.close()
    assert server.closed.wait(10)


def test_a_setting_that_is_called_otherwise(server: Server) -> None:
    server.fault = "limit"
    backend = RemoteBackend(server.url, "m")
    for _ in range(2):
        assert "".join(backend.plain(ASKED, Sampling(max_tokens=5)).pieces).startswith("Héllo")
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 5, 5]


@pytest.mark.parametrize(
    ("fault", "told"),
    [("key", r"\[key\]"), ("page", "404"), ("json", "no answer"), ("error", "out of memory")],
)
def test_faults_are_one_line_without_keys(server: Server, fault: str, told: str) -> None:
    server.fault = fault
    url = server.url if fault == "key" else server.url.replace("//", "//user:password@")
    reply = RemoteBackend(url, "m", KEY).reply(ADA, ASKED, Sampling())
    with pytest.raises(FspoError, match=told) as caught:
        list(reply.pieces)
    message = str(caught.value)
    assert message.startswith(f"m@127.0.0.1:{server.server_port}: ")
    assert "\n" not in message
    assert len(message) < 250
    assert not any(secret in message for secret in (KEY, "password"))


def test_an_answer_that_breaks_off_does_not_pass_for_a_finished_one(server: Server) -> None:
    server.fault = "breaks off"
    reply = RemoteBackend(server.url, "m").plain(ASKED, Sampling())
    assert "".join(reply.pieces).startswith("Héllo")
    assert reply.finish_reason == "length"


def test_nobody_there() -> None:
    backend = RemoteBackend("http://127.0.0.1:9/v1", "m", KEY)
    backend._client.max_retries = 0
    with pytest.raises(FspoError, match="no answer"):
        list(backend.plain(ASKED, Sampling()).pieces)


def test_what_it_cannot_do() -> None:
    backend = RemoteBackend("http://127.0.0.1:9/v1", "m")
    assert not backend.abilities.describes
    assert backend.abilities.models == ("m",)
    assert backend.describe(ADA) == ""
    backend.forget(ADA.key)
    with pytest.raises(FspoError, match="no reward"):
        backend.rewards(ADA, "q", ["a", "b"])
    assert {backend.choose(ADA, SHOTS[:3], seed) for seed in range(20)} == {
        (k, False) for k in range(3)
    }
    for wrong, told in (([], "last one"), ([{"role": "tool", "content": ""}, *ASKED], "unknown")):
        with pytest.raises(FspoError, match=told):
            backend.reply(ADA, wrong, Sampling())
    with pytest.raises(FspoError, match="no pair left"):
        backend.choose(ADA, [], 0)
