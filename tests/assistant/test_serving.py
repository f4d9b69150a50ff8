"""`fspo serve`, `fspo chat` and `fspo keys` as processes: what they refuse, log, and never lose."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pretend_backend import PretendBackend
from servers import NO_MODEL, Served, postgresql

from fspo.assistant.backend import Messages, Person, Reply
from fspo.assistant.profiles import Profiles
from fspo.assistant.terminal import Conversation, plain
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.web import serving
from fspo.web.database import open_database

SECRET = "a very private question"


def fspo(*args: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fspo", *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serving")
    if request.param == "sqlite":
        yield str(folder / "a.db")
    else:
        with postgresql(folder) as url:
            yield url


def test_nothing_acknowledged_is_lost_when_it_is_killed(database: str, tmp_path: Path) -> None:
    served = Served(database, tmp_path / "log")
    acknowledged: list[tuple[str, str]] = []

    def person(name: str) -> None:
        with httpx2.Client(base_url=served.url, timeout=10) as client:
            for number in range(10_000):
                choice = {"user": name, "prompt": str(number), "chosen": "yes", "rejected": "no"}
                try:
                    answer = client.post("/v1/preferences", json=choice)
                except httpx2.TransportError:
                    return
                assert answer.status_code == 200
                acknowledged.append((name, answer.json()["id"]))

    with ThreadPoolExecutor(8) as threads:
        people = [threads.submit(person, f"u{n}") for n in range(8)]
        while len(acknowledged) < 100:
            time.sleep(0.01)
        served.end(signal.SIGKILL)
        for one in people:
            one.result()
    again = Served(database, tmp_path / "log")
    try:
        for name in {name for name, _ in acknowledged}:
            kept = httpx2.get(again.url + "/v1/preferences", params={"user": name}).json()["data"]
            prompts = [int(row["prompt"]) for row in kept]
            assert prompts == list(range(len(prompts)))  # none lost, none doubled
            assert {i for n, i in acknowledged if n == name} <= {row["id"] for row in kept}
    finally:
        again.end()


def test_the_log_holds_no_texts_names_or_keys(tmp_path: Path) -> None:
    database = str(tmp_path / "a.db")
    key = fspo("keys", "add", "mine", "--database", database).stdout.strip()
    served = Served(database, tmp_path / "log")
    headers = {"Authorization": f"Bearer {key}"}
    asked = {"model": "none", "user": "ann-of-cleves"}
    asked |= {"messages": [{"role": "user", "content": SECRET}]}
    with httpx2.Client(base_url=served.url, headers=headers) as client:
        answer = client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 503
        assert "cannot be reached" in answer.json()["error"]["message"]
        assert "127.0.0.1:9" not in answer.text
        client.post("/v1/preferences", content=f'{{"prompt": "{SECRET}')
        client.get(f"/v1/preferences?user={SECRET}")
        client.post("/login", data={"key": key})
    served.end()
    log = (tmp_path / "log").read_text()
    assert "listening on" in log
    for text in (SECRET, SECRET.split()[2], "ann-of-cleves", key):
        assert text not in log


@pytest.mark.parametrize("reach", [["--host", "0.0.0.0"], ["--behind-proxy"]])
def test_others_are_not_served_without_keys(tmp_path: Path, reach: list[str]) -> None:
    database = tmp_path / "a.db"
    refused = fspo("serve", *NO_MODEL, "--database", database, *reach)
    assert reach[0] in refused.stderr
    assert refused.returncode == 2
    assert "no key is set" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["serve", "--server", "http://127.0.0.1:9/v1"], "--server-model"),
        (["serve", *NO_MODEL, "--certificate", "missing.pem"], "missing.pem: not found"),
        (["keys", "revoke", "nobody"], "no key 'nobody'"),
        (["keys", "add", "k", "--scope", "all"], "no scope 'all'"),
        (["chat", "--database", "mongo://x"], "use a path"),
    ],
)
def test_a_mistake_ends_in_one_line(args: list[str], told: str, tmp_path: Path) -> None:
    if "--database" not in args:
        args = [*args, "--database", str(tmp_path / "a.db")]
    failed = fspo(*args)
    assert failed.returncode == 2
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr


def test_keys_are_listed_without_themselves(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    key = fspo(
        "keys", "add", "mine", "--user", "ann", "--scope", "chat", "--database", database
    ).stdout.strip()
    listed = fspo("keys", "list", "--database", database).stdout
    assert json.loads(listed)[0]["user"] == "ann"
    assert key not in listed


def test_a_terminal_takes_choices_and_shows_no_orders(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    row = {"user_id": "u", "prompt": "q\x1b[2J", "chosen": "yes\x07", "rejected": "no"}
    pairs.write_text(json.dumps(row) + "\n")
    database = tmp_path / "a.db"
    lines = "/help\n/pair\n1\n/profile\n/describe a poet\n/profile\nhello\n/pair\n/forget\nyes\n"
    said = fspo(
        "chat", *NO_MODEL, "--pairs", pairs, "--database", database, stdin=lines + "/profile\n"
    )
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    assert "\x07" not in said.stdout
    assert "kept" in said.stdout
    assert "description (yours): a poet" in said.stdout
    assert "127.0.0.1:9" in said.stdout  # the server that is not there, in a line
    assert "there is no pair to ask about" in said.stdout
    assert said.stdout.rstrip().endswith("description: none yet\n>")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates, good ones and others."""
    folder = tmp_path_factory.mktemp("pems")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name, more in (("good", ["-nodes"]), ("locked", ["-passout", "pass:x"])):
        files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        subprocess.run([*make, *more, *files, "-subj", "/CN=a"], check=True, capture_output=True)
    (folder / "bad.pem").write_text("x\n")
    (folder / "binary.pem").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        ("nope.pem", "good.key", "--certificate nope.pem: cannot be read"),
        ("bad.pem", None, "given by --key"),
        ("binary.pem", "good.key", "this is not a certificate and its private key, as PEM"),
        ("good.pem", None, "given by --key"),
        ("good.pem", "bad.pem", "this is not a certificate"),
        ("good.pem", "locked.key", "has a password"),
        ("good.pem", "..", "cannot be read"),
        ("good.key", "good.key", "this is not a certificate"),
        (None, "good.key", "--key: give the certificate"),
        ("a\0b", None, "cannot be read"),
    ],
)
def test_a_certificate_that_is_none_is_named(
    pems: Path, certificate: str | None, key: str | None, told: str
) -> None:
    certificate, key = (name and (str(pems / name) if "nope" not in name else name)
                        for name in (certificate, key))  # fmt: skip
    with pytest.raises(FspoError) as refused:
        serving.serve(FastAPI(), "127.0.0.1", 0, certificate, key)
    assert told in str(refused.value).replace(f"{pems}/", "")
    assert "\n" not in str(refused.value)
    serving.check_certificate(str(pems / "good.pem"), str(pems / "good.key"))


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 70000, "--port 70000: must be from 0 to 65535"),
        ("127.0.0.1", -1, "--port -1: must"),
        ("no.such.host.invalid", 0, "--host no.such.host.invalid"),
        ("a" * 100, 0, "cannot listen there"),
        ("a\0b", 0, "cannot listen there"),
        ("::zz", 0, "--host ::zz"),
        ("192.0.2.1", 0, "cannot listen there"),
    ],
)
def test_where_nobody_can_listen_is_named(host: str, port: int, told: str) -> None:
    with pytest.raises(FspoError) as refused:
        serving.serve(FastAPI(), host, port)
    assert told in str(refused.value)


def test_it_listens_by_the_time_that_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []

    def said(line: str) -> None:  # called in the server's own thread: it cannot do more meanwhile
        address = line.removeprefix("listening on ").partition("/  ")[0]
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=5):
            codes.append(1)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(serving, "say", said)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which xdist switches off
    try:
        with pytest.raises(KeyboardInterrupt):
            serving.serve(FastAPI(), "127.0.0.1", 0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert codes == [1]


def test_bytes_that_are_no_utf_8_do_not_end_a_chat(tmp_path: Path) -> None:
    for surroundings in ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}):
        command = [sys.executable, "-m", "fspo", "chat", *NO_MODEL]
        command += ["--database", str(tmp_path / "a.db")]
        chat = subprocess.run(
            command,
            input=b"Caf\xe9\n/describe Caf\xe9\n/describe a poet\n/profile\n",
            capture_output=True,
            timeout=60,
            env=os.environ | surroundings,
        )
        assert chat.returncode == 0
        assert chat.stdout.count(b"bytes that are not UTF-8") == 2
        assert b"description (yours): a poet" in chat.stdout
        assert b"Traceback" not in chat.stderr
    failed = subprocess.run(
        [*command, "--user", b"Caf\xe9"], input=b"", capture_output=True, timeout=60
    )
    assert failed.returncode == 2
    assert b"--user: holds bytes that are not UTF-8" in failed.stderr


def test_a_servers_message_gives_the_terminal_no_orders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Rude(PretendBackend):
        def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
            raise FspoError("m: the server said \x1b]0;owned\x07\x1b[2J\x9b31m no")

    lines = iter(["hello", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    database = open_database(str(tmp_path / "a.db"))
    Conversation(Rude(), Profiles(database), "me", [], Sampling()).run()
    said = capsys.readouterr().out
    assert "the server said ]0;owned[2J31m no" in said
    assert plain(said) == said
