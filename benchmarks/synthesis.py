"""What the preference engine itself costs, and how well it keeps a server busy.

    python benchmarks/synthesis.py [--json FILE]

`own`: everything but the models: 100,000 and a million labeled preferences, two label calls each,
by a stand-in that answers at once in the same process; replies are stored in SQLite as in any run.
Each size in a process of its own, so that its peak memory is its own. `http`: a server in another
process that answers after 200 ms, one request in twenty with 429, 500, a dropped connection or
malformed JSON. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from fspo.domains.described import load_described
from fspo.judging.model_judge import model_labeller
from fspo.llm.endpoint import Endpoint
from fspo.llm.meter import Meter
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import LanguageModel, Reply, Request
from fspo.llm.store import CachedModel, Store
from fspo.recipe import EngineRecipe
from fspo.synthesis.engine import make
from fspo.synthesis.stage import Cast

ROOT = Path(__file__).parent.parent
USERS = 1500
SIZES = {"100,000": 67, "a million": 667}  # preferences of each user
LATENCY = 0.2
CONCURRENCY = 32  # the default of a recipe


class Decided(Pretend):
    """Prefers the same answer in both orders."""

    def _reply(self, request: Request) -> Reply:
        if not request.choices:
            return super()._reply(request)
        share = share_of_a(request.messages[-1][1])
        return Reply("A" if share > 0.5 else "B", self.name, 1, 1, (share, 1 - share))


def share_of_a(question: str) -> float:
    """The probability of A, by the content of the two answers."""
    one, other = (_weight(text) for text in question.split("Answer B:"))
    return one / (one + other)


def _words(messages: list[dict[str, str]], seed: int) -> str:
    told = tuple((message["role"], message["content"]) for message in messages)
    [[(_, reply)]] = Pretend().answer([Request(told, 1, seed=seed)])
    return reply.text


def _weight(text: str) -> int:
    answer = next(line for line in reversed(text.splitlines()) if line.startswith("> "))
    return 1 + int.from_bytes(blake2b(answer.encode(), digest_size=4).digest())


def run(recipe: EngineRecipe, model: LanguageModel, folder: Path) -> dict[str, Any]:
    """Makes a dataset with one model for everything, and says how long that took."""
    domain = load_described(recipe.domain)
    store = Store(folder / "replies.sqlite")
    remembered = CachedModel(model, store)
    labeller = model_labeller(remembered, domain.guidelines)
    start = time.perf_counter()
    figures = make(
        recipe, domain, Cast(remembered, remembered, labeller), pretend_embedder, folder / "out", 0
    )
    seconds = time.perf_counter() - start
    replies = len(store)
    store.close()
    return {
        "preferences": figures["preferences"],
        "labels": figures["labels"],
        "seconds": seconds,
        "replies": replies,
        "replies_per_second": replies / seconds,
        "preferences_per_second": figures["preferences"] / seconds,
        "dataset_mb": (folder / "out" / "preferences.parquet").stat().st_size / 1e6,
        "replies_mb": (folder / "replies.sqlite").stat().st_size / 1e6,
    }


def own(each: int) -> dict[str, Any]:
    """The engine's own cost of `each` preferences of each user."""
    recipe = EngineRecipe(
        domain="roleplay",
        users=USERS,
        questions=600,
        answers_per_question=8,
        preferences_per_user=each,
    )
    with tempfile.TemporaryDirectory() as folder:
        figures = run(recipe, Decided(), Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return figures | {"peak_memory_gb": peak}


def _serve(address: Connection, done: Event) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from chat_server import ChatServer

    with ChatServer(
        latency=LATENCY,
        faults=("429", "500", "drop", "json"),
        every=20,
        text=_words,
        share=lambda messages: share_of_a(messages[-1]["content"]),
    ) as server:
        address.send(server.url)
        done.wait()
        twice = sum(count - 1 for count in server.answered.values())
        address.send({"requests": server.requests, "answered_twice": twice})


@contextmanager
def server() -> Iterator[tuple[str, Any]]:
    """A server's address, and a function that stops it and gives what it counted."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    done = context.Event()
    process = context.Process(target=_serve, args=(there, done), daemon=True)
    process.start()
    url = here.recv()

    def stop() -> dict[str, int]:
        done.set()
        counted: dict[str, int] = here.recv()
        return counted

    yield url, stop
    process.join(10)


def over_http() -> dict[str, Any]:
    """How busy a faulty server is kept by a whole run: views, answers, refinement, labels."""
    recipe = EngineRecipe(
        domain="roleplay",
        users=200,
        questions=300,
        preferences_per_user=150,
        refinements=4,
        remakes=0,
    )
    meter = Meter()
    with server() as (url, stop), tempfile.TemporaryDirectory() as folder:
        model = Endpoint(
            "model", api_key="secret-key", base_url=url, concurrency=CONCURRENCY, meter=meter
        )
        figures = run(recipe, model, Path(folder))
        counted = stop()
    limit = CONCURRENCY / LATENCY
    return {
        **figures,
        **counted,
        "retries": meter.retries,
        "limit_per_second": limit,
        "requests_share_of_limit": counted["requests"] / figures["seconds"] / limit,
        "replies_share_of_limit": figures["replies_per_second"] / limit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write what is printed")
    parser.add_argument("--only", help="one of: own, http; or, inside, a number of preferences")
    arguments = parser.parse_args()
    if arguments.only and arguments.only.isdigit():
        print(json.dumps(own(int(arguments.only))))
        return
    from machine import machine  # beside this file

    found: dict[str, Any] = {"machine": machine()}
    if arguments.only != "http":
        found["own"] = {}
        for name, each in SIZES.items():
            command = [sys.executable, __file__, "--only", str(each)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found["own"][name] = json.loads(done.stdout)
    if arguments.only != "own":
        found["http"] = over_http()
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
