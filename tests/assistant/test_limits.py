"""One client cannot hold up or fill the server: real connections, bounded in count and in time."""

from __future__ import annotations

import json
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pretend_backend import PretendBackend
from servers import running
from sqlalchemy import event
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.backend import Messages, Person, Reply
from fspo.assistant.keys import add_key
from fspo.assistant.turns import Turns
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference
from fspo.web.connections import Connection
from fspo.web.database import Database, open_database
from fspo.web.logs import Sparing

ASKED = {"model": "fspo", "messages": [{"role": "user", "content": "q"}]}
POOL = [Preference("q", "good", "bad")]


class SlowBackend(PretendBackend):
    """It writes a piece in 10 ms, a thousand of them, or nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__(describes=False)
        self.begun, self.written, self.ended = 0, 0, 0
        self.let_go = threading.Event()
        self.let_go.set()
        self.turns = Turns()

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        def pieces() -> Iterator[str]:
            try:
                self.begun += 1
                for _ in range(sampling.max_tokens):
                    self.let_go.wait(30)
                    time.sleep(0.01)
                    self.written += 1
                    yield "word "
            finally:
                self.ended += 1

        return Reply(pieces())

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        return self.reply(Person(""), messages, sampling)

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        try:
            for _ in range(1000):
                with self.turns.of_answer():
                    time.sleep(0.01)
                    self.written += 1
        finally:
            self.ended += 1
        return [0.0] * len(answers)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(str(tmp_path / "a.db"))


@pytest.fixture
def slow() -> SlowBackend:
    return SlowBackend()


def until(true: Callable[[], object], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


def connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answer_to(connection: socket.socket) -> bytes:
    """All that comes until the server closes, or for a second."""
    found = b""
    connection.settimeout(1)
    try:
        while part := connection.recv(65536):
            found += part
    except (TimeoutError, ConnectionError):
        pass
    return found


def test_pages_stay_quick_while_a_model_hangs(database: Database, slow: SlowBackend) -> None:
    key = add_key(database, "k")
    slow.let_go.clear()
    headers = {"Authorization": f"Bearer {key}"}
    with running(create_app(slow, database, POOL, answers_at_once=45)) as address:
        said: list[int] = []

        def ask(number: int) -> None:
            body = ASKED | {"stream": number % 2 == 0, "max_tokens": 5}
            answer = httpx2.post(
                f"{address}/v1/chat/completions", json=body, headers=headers, timeout=60
            )
            said.append(answer.status_code)

        threads = [
            threading.Thread(target=ask, args=(number,), daemon=True) for number in range(45)
        ]
        for thread in threads:
            thread.start()
        full = {"url": f"{address}/v1/chat/completions", "json": ASKED, "headers": headers}
        assert until(lambda: slow.begun == 45)
        refused = httpx2.post(**full)
        assert refused.json()["error"]["type"] == "server_error"
        assert int(refused.headers["retry-after"]) > 0
        for path in ("/v1/rank", "/v1/pairs"):
            body = {"prompt": "q", "answers": ["a", "b"]}
            other = httpx2.post(address + path, json=body | {"user": "u"}, headers=headers)
            assert other.status_code == 503
        start = time.monotonic()
        assert httpx2.get(f"{address}/login").status_code == 200
        assert httpx2.get(f"{address}/v1/models", headers=headers).status_code == 200
        assert httpx2.get(f"{address}/v1/profile?user=u", headers=headers).status_code == 200
        assert time.monotonic() - start < 2
        slow.let_go.set()
        for thread in threads:
            thread.join(20)
        assert said == [200] * 45


def start_chat(address: str, stream: bool) -> socket.socket:
    return start(address, "/v1/chat/completions", ASKED | {"stream": stream, "max_tokens": 1000})


def start(address: str, path: str, body: dict[str, Any]) -> socket.socket:
    connection, data = connected(address), json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


@pytest.mark.parametrize("what", ["whole", "stream", "rank", "pair"])
def test_an_answer_that_nobody_waits_for_is_stopped(
    database: Database, slow: SlowBackend, what: str
) -> None:
    with running(create_app(slow, database, POOL, answers_at_once=1)) as address:
        for _ in range(2):  # there is one place only: the first has to leave it
            before, ended = slow.written, slow.ended
            if what in ("whole", "stream"):
                connection = start_chat(address, what == "stream")
            elif what == "rank":
                connection = start(address, "/v1/rank", {"prompt": "q", "answers": ["a", "b"]})
            else:
                connection = start(address, "/v1/pairs", {"prompt": "q"})
            assert until(lambda before=before: slow.written > before + 3)  # type: ignore[misc]
            connection.close()
            assert until(lambda ended=ended: slow.ended > ended, 3)  # type: ignore[misc]
            assert slow.written < before + 400
            time.sleep(0.05)  # the thread gives its place back after that


def test_a_key_is_looked_at_before_a_body_is_read(database: Database) -> None:
    chats = add_key(database, "k", scopes=["chat"])
    with running(create_app(PretendBackend(), database, POOL)) as address:
        for path, key, status in (
            ("chat/completions", "", 401),
            ("chat/completions", "fspo-wrong", 401),
            ("preferences", chats, 403),
            ("rank", chats, 403),
        ):
            connection = connected(address)
            connection.sendall(
                f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
                "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{".encode()
            )  # and nothing more
            assert connection.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())
            connection.close()
        connection = connected(address)
        connection.sendall(
            b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000001\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
        connection.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nkey",
    ],
)
def test_a_slow_client_is_cut_off_however_it_trickles(
    database: Database, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(Connection, "asking", 0.4)
    monkeypatch.setattr(Connection, "sending", 0.4)
    with running(create_app(PretendBackend(), database)) as address:
        connection = connected(address)
        connection.sendall(begun)
        begin, is_open = time.monotonic(), True
        while is_open and time.monotonic() < begin + 8:
            time.sleep(0.1)
            try:
                if begun and not begun.endswith(b"key"):
                    connection.sendall(b"x")
                connection.settimeout(0.01)
                is_open = bool(connection.recv(1))
            except TimeoutError:
                pass
            except ConnectionError:
                is_open = False
        assert not is_open
        assert time.monotonic() - begin < 4
        with httpx2.Client(base_url=address) as client:  # one that takes a pause between requests
            for _ in range(3):
                assert client.get("/login").status_code == 200
                time.sleep(0.5)


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "reading", 0.3)
    with running(PlainTextResponse("x" * 50_000_000)) as address:
        connection = connected(address)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(1)
        assert len(answer_to(connection)) < 49_000_000
        assert len(httpx2.get(address).content) == 50_000_000  # others get all of it


def test_whoever_only_holds_the_line_makes_room_for_those_who_ask(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "most", 20)
    with running(create_app(PretendBackend(), database)) as address:
        held = [connected(address) for _ in range(60)]
        for number, connection in enumerate(held):
            with suppress(ConnectionError):
                connection.sendall((b"", b"GET / HTTP/1.1\r\nX: ")[number % 2])
        for _ in range(5):
            assert httpx2.get(f"{address}/login", timeout=5).status_code == 200
        gone = 0
        for connection in held:
            connection.settimeout(0.01)
            try:
                gone += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                gone += 1
            connection.close()
        assert 40 <= gone <= 50


def test_a_flood_of_connections_neither_fills_the_log_nor_holds_up_others(tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))\n"
        "from fspo.cli import main; import sys\n"
        "sys.argv = ['fspo', *sys.argv[1:]]; main()"
    )
    command = [sys.executable, "-c", code, "serve", "--server", "http://127.0.0.1:9/v1"]
    command += ["--server-model", "m", "--database", str(tmp_path / "a.db"), "--port", "0"]
    log = tmp_path / "log"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        assert until(lambda: "listening on" in log.read_text(), 60)
        address = log.read_text().split("listening on ")[1].split("/  ")[0]
        # It listens by the time it says so.
        held = [connected(address) for _ in range(min(400, soft // 2))]
        for _ in range(3):
            assert httpx2.get(f"{address}/login", timeout=20).status_code == 200
        for connection in held:
            connection.close()
        for _ in range(200):
            with connected(address) as connection:
                connection.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                assert b"400" in answer_to(connection)
    finally:
        server.terminate()
        server.wait(30)
    assert log.read_text().count("\n") < 20


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_in_the_form_of_all_refusals(
    database: Database, sent: bytes, status: int
) -> None:
    with running(create_app(PretendBackend(), database)) as address:
        connection = connected(address)
        connection.sendall(sent)
        head, _, body = answer_to(connection).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-security-policy: default-src 'none'" in head.lower()
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


class FaultyBackend(PretendBackend):
    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        raise KeyError("a very private thing")

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        def pieces() -> Iterator[str]:
            yield "well"
            raise KeyError("a very private thing")

        return Reply(pieces())


def test_what_nobody_foresaw_is_told_without_its_words(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    client = TestClient(create_app(FaultyBackend(), database, POOL), "http://127.0.0.1")
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json=ASKED | {"stream": stream})
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert answer.headers["content-security-policy"]
        assert "private" not in answer.text
    broken = client.post("/v1/chat/completions", json=ASKED | {"model": "fspo-plain"})
    assert broken.status_code == 500
    cut = client.post("/v1/chat/completions", json=ASKED | {"model": "fspo-plain", "stream": True})
    assert "well" in cut.text
    assert "[DONE]" not in cut.text
    log = capsys.readouterr().err
    assert "a request failed: KeyError at test_limits.py:" in log
    assert "private" not in log


def test_a_full_database_is_a_503_with_the_guards_headers(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    client = TestClient(create_app(PretendBackend(), database), "http://127.0.0.1")

    @event.listens_for(database.engine, "begin")
    def full(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    choice = {"prompt": "p" * 20_000, "chosen": "a private yes", "rejected": "no"}
    answer = client.post("/v1/preferences", json=choice)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["retry-after"]) > 0
    assert "private" not in answer.text + capsys.readouterr().err
    assert client.get("/v1/preferences").status_code == 200


def test_the_log_has_a_line_for_each_kind_of_fault_and_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger, told = logging.getLogger("fspo.test.sparing"), list[str]()
    logger.propagate = False
    logger.addFilter(Sparing())
    handler = logging.Handler()
    handler.emit = lambda record: told.append(handler.format(record))  # type: ignore[method-assign]
    logger.addHandler(handler)
    moment = 1000.0
    monkeypatch.setattr("fspo.web.logs.time.monotonic", lambda: moment)

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception:
            logger.exception("it failed\nand more")

    for number in range(1000):
        fail(KeyError(f"secret {number}"))
        fail(ValueError(f"secret {number}"))
        logger.warning("no HTTP %d", number)
    assert len(told) == 3
    assert told[0].startswith("it failed: KeyError at test_limits.py:")
    moment += 61
    fail(KeyError("secret"))
    assert len(told) == 4
    assert told[3].endswith("(999 more like this)")
    assert "secret" not in "".join(told)
    assert "\n" not in "".join(told)


NULLABLE = ("user", "stream", "stream_options", "max_tokens", "max_completion_tokens",
            "temperature", "top_p", "stop", "seed", "n")  # fmt: skip


def test_every_field_that_may_be_null_may_be_null(database: Database) -> None:
    client = TestClient(create_app(PretendBackend(), database, POOL), "http://127.0.0.1")
    for fields in [*((name,) for name in NULLABLE), NULLABLE]:
        body = ASKED | dict.fromkeys(fields)
        assert client.post("/v1/chat/completions", json=body).status_code == 200, fields
    body = ASKED | {"stream": True, "stream_options": {"include_usage": None}}
    assert "[DONE]" in client.post("/v1/chat/completions", json=body).text
    for path, body in (
        ("/v1/preferences", {"user": None, "prompt": "q", "chosen": "y", "rejected": "n"}),
        ("/v1/pairs", {"user": None, "prompt": None, "besides": None}),
        ("/v1/rank", {"user": None, "prompt": "q", "answers": ["a", "b"]}),
    ):
        assert client.post(path, json=body).status_code in (200, 404), path
    assert client.patch("/v1/profile", json={"user": None, "description": ""}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": ' + b"[" * 100_000,
        b'{"model": ' + b'{"a":' * 100_000,
        b'{"model": "fspo", "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "fspo", "messages": "' + b"\xff" * 9,
        b"\x00",
        json.dumps(ASKED | {"stop": ["x"] * 5}).encode(),
        json.dumps(ASKED | {"stop": "x" * 201}).encode(),
        json.dumps(ASKED | {"stop": ["x" * 201]}).encode(),
        json.dumps(ASKED | {"messages": ASKED["messages"] * 1001}).encode(),
    ],
    ids=range(9),
)
def test_bodies_out_of_bounds_are_refused(database: Database, body: bytes) -> None:
    client = TestClient(create_app(PretendBackend(), database, POOL), "http://127.0.0.1")
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/chat/completions", "/v1/profile"):
        method = "PUT" if path.endswith("profile") else "POST"
        answer = client.request(method, path, content=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
