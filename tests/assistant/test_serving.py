"""`fspo serve`, `fspo chat` and `fspo keys` as processes: what they refuse, log, and never lose."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from servers import NO_MODEL, Served, postgresql

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
        assert answer.status_code == 400
        assert "127.0.0.1:9" in answer.json()["error"]["message"]
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
