"""A real Ray on this machine: two workers, one of which is killed in the middle."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, expected

from fspo.llm.cluster import Clustered
from fspo.llm.local import LocalModel
from fspo.llm.local_chat import LocalChat
from fspo.llm.meter import Budget, Meter, Price
from fspo.llm.requests import Request, ask
from fspo.llm.store import CachedModel, Store
from fspo.recipe import ModelRecipe


@pytest.fixture(scope="module")
def _ray():
    ray = pytest.importorskip("ray")
    os.environ["SERVER_KEY"] = "secret-key"
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def requests(count: int) -> list[Request]:
    return [Request((("user", f"number {n}"),), 8, seed=7) for n in range(count)]


def recipe(server: ChatServer, **settings: object) -> ModelRecipe:
    given = {"kind": "openai", "model": "model", "base_url": server.url, "key_from": "SERVER_KEY"}
    return ModelRecipe.model_validate(given | {"batch_size": 8, "concurrency": 2} | settings)


def workers() -> set[int]:
    """The processes of Ray's workers that run our class."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if line.startswith("ray::") and "Worker" in line:
            found.add(int(path.parent.name))
    return found


@pytest.mark.usefixtures("_ray")
def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path):
    store = Store(tmp_path / "replies.sqlite")
    killed: list[int] = []
    with ChatServer(latency=0.05) as server:

        def kill() -> None:
            while server.requests < 60:
                time.sleep(0.01)
            killed.append(min(workers()))
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        model = CachedModel(Clustered(recipe(server), "model", 2, Meter()), store)
        replies = ask(model, requests(240))
        killer.join()
    assert killed
    texts = [expected([{"role": "user", "content": f"number {n}"}], 7) for n in range(240)]
    assert [reply.text for reply in replies] == texts
    assert len(store) == 240
    # What the dead worker had on the wire is asked again, and nothing else.
    again = [count for count in server.answered.values() if count > 1]
    assert len(server.answered) == 240
    assert len(again) <= 3 * 8


@pytest.mark.usefixtures("_ray")
def test_a_local_model_writes_the_same_on_a_cluster(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from fspo.models import load_model

    _, tokenizer = load_model()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    import torch

    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    asked = [
        *requests(20),
        Request((("user", "A or B?"),), 1, choices=("A", "B")),
    ]
    name = str(tmp_path / "tiny")
    alone = LocalChat(name, lambda: LocalModel(*load_model(name)), 8)
    there = ModelRecipe(model=name, batch_size=8)
    together = Clustered(there, alone.name, 2, Meter())
    one, other = ask(alone, asked), ask(together, asked)
    assert [(r.text, r.probabilities) for r in one] == [(r.text, r.probabilities) for r in other]


@pytest.mark.usefixtures("_ray")
def test_a_budget_is_shared_among_the_workers():
    from fspo.errors import FspoError

    with ChatServer() as server:
        priced = recipe(server, price_out=1e6)  # an answer costs five, and eight are set aside
        meter = Meter(Price(0.0, 1e6), Budget(limit=200.0))
        with pytest.raises(FspoError, match="budget"):
            ask(Clustered(priced, "model", 2, meter), requests(240))
        assert 100 <= meter.budget.spent <= 200
        assert sum(server.answered.values()) * 5 <= 200
