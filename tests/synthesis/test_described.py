"""`fspo synthesize DOMAIN --recipe` as its user meets it: a process, a server, money, faults."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chat_server import ChatServer
from small_domain import write_domain

import fspo
from fspo.llm.pretend import Pretend
from fspo.llm.requests import Request
from fspo.preferences.reading import load_preferences
from fspo.recipe import ModelRecipe
from fspo.synthesis.described import engine_recipe

KEY = "secret-key"


def words(messages: list[dict], seed: int) -> str:
    """What the server writes: sentences, so that they can be read."""
    told = tuple((message["role"], message["content"]) for message in messages)
    [[(_, reply)]] = Pretend().answer([Request(told, 1, seed=seed)])
    return reply.text


def share(messages: list[dict]) -> float:
    """Prefers the answer that comes first in the alphabet."""
    one, other = messages[-1]["content"].split("Answer A:\n")[1].split("Answer B:\n")
    return 0.9 if one.split("\n")[0] < other.split("\n")[0] else 0.1


@pytest.fixture(scope="module")
def _server() -> Iterator[ChatServer]:
    with ChatServer(key=KEY) as running:
        yield running


@pytest.fixture
def server(_server: ChatServer) -> ChatServer:
    _server.text, _server.share, _server.logprobs = words, share, True
    _server.faults, _server.every, _server.requests = (), 0, 0
    _server.latency = 0.0
    _server.answered.clear()
    return _server


@pytest.fixture(scope="module")
def domain(tmp_path_factory) -> Path:
    return write_domain(tmp_path_factory.mktemp("domain") / "tiny")


@pytest.fixture
def plan(tmp_path: Path, domain: Path, server: ChatServer) -> Path:
    model = {"kind": "openai", "model": "m", "base_url": server.url, "key_from": "SERVER_KEY"}
    model |= {"price_out": 1.0}
    settings = {
        "domain": str(domain),
        "users": 12,
        "questions": 12,
        "answers_per_question": 3,
        "preferences_per_user": 4,
        "refinements": 2,
        "remakes": 1,
        "writers": [model, model | {"temperature": 1.3, "weight": 0.5}],
        "thinker": model,
        "labeller": model,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, object]:
    """What the first uninterrupted run wrote and asked, once there was one."""
    return {}


def change(plan: Path, **settings: object) -> None:
    given = yaml.safe_load(plan.read_text(encoding="utf-8"))
    plan.write_text(yaml.safe_dump(given | settings), encoding="utf-8")


def start(plan: Path, *flags: object, key: str | None = KEY) -> subprocess.Popen[str]:
    domain = yaml.safe_load(plan.read_text(encoding="utf-8"))["domain"]
    command = [sys.executable, "-m", "fspo", "synthesize", domain]
    command += ["--recipe", str(plan), "--out", str(plan.parent / "out"), *map(str, flags)]
    environment = {name: value for name, value in os.environ.items() if name != "SERVER_KEY"}
    environment |= {"SERVER_KEY": key} if key else {}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def run(plan: Path, *flags: object, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    process = start(plan, *flags, key=key)
    said, faults = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, faults)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_told(done: subprocess.CompletedProcess[str], *told: str) -> None:
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("fspo: ")
    assert "Traceback" not in done.stderr
    for text in told:
        assert text in last, last


def test_a_run_over_http_and_a_second_one_that_costs_nothing(plan, server, tmp_path, whole):
    done = run(plan, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert len(load_preferences(tmp_path / "out")) == figures["preferences"] > 40
    assert "This may cost" in done.stderr
    [cost] = figures["cost"]["models"]
    assert cost["requests"] == sum(server.answered.values()) == len(server.answered)
    assert figures["cost"]["spent"] == pytest.approx(cost["output_tokens"] / 1e6, abs=1e-6)
    assert cost["requests"] < cost["output_tokens"] < 5 * cost["requests"]
    first = contents(tmp_path / "out")
    assert json.loads(first["checks.json"])["preferences"] == figures["preferences"]
    assert {"README.md", "growth.jsonl", "plots/checks.png", "users.parquet"} < set(first)
    assert KEY not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path

    before = server.requests
    again = run(plan, "--json")
    assert server.requests == before
    assert json.loads(again.stdout)["cost"]["spent"] == 0
    assert contents(tmp_path / "out") == first
    whole |= {"files": first, "asked": dict(server.answered)}


def test_a_program_makes_the_very_same_dataset(plan, server, tmp_path, whole, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)
    domain = yaml.safe_load(plan.read_text(encoding="utf-8"))["domain"]
    figures = fspo.synthesize(domain, tmp_path / "program", plan)
    assert figures["preferences"] == len(load_preferences(tmp_path / "program"))
    assert contents(tmp_path / "program") == whole["files"]
    fewer = fspo.synthesize(domain, tmp_path / "fewer", plan, seed=1, preferences_per_user=2)
    assert fewer["preferences"] < figures["preferences"]


def test_the_current_folder_can_be_written(plan, server, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, "-m", "fspo", "synthesize", "--recipe", str(plan), "--quiet"]
    command += [yaml.safe_load(plan.read_text(encoding="utf-8"))["domain"], "--out", "."]
    environment = os.environ | {"SERVER_KEY": KEY}
    before = here.stat().st_ino
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(load_preferences(here)) > 40
    assert here.stat().st_ino == before  # a shell that stands in it sees what was written
    assert (tmp_path / "here.replies.sqlite").is_file()


def test_a_budget_that_is_too_small_stops_and_a_larger_one_goes_on(plan, server, tmp_path, whole):
    # A label is one token, which costs a millionth; anything else that is written is five.
    assert_told(run(plan, "--budget", 0.0005), "the budget of 0.0005 is used up", "kept")
    assert 20 < sum(server.answered.values()) < len(whole["asked"])
    assert not (tmp_path / "out").exists()
    assert run(plan, "--budget", 1).returncode == 0
    assert contents(tmp_path / "out") == whole["files"]
    assert server.answered == whole["asked"]  # nothing was asked twice


def test_faults_of_the_server_change_no_byte(plan, server, tmp_path, whole):
    server.faults, server.every = ("429", "500", "drop", "shape", "json", "html"), 12
    assert run(plan).returncode == 0
    assert contents(tmp_path / "out") == whole["files"]
    assert server.answered == whole["asked"]


def ray_workers() -> set[int]:
    """The processes of Ray's workers that hold our class."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if line.startswith("ray::") and "Worker" in line:
            found.add(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for Ray's workers in /proc")
def test_a_cluster_of_which_a_worker_is_killed_writes_the_very_same_dataset(
    plan, server, tmp_path, whole
):
    pytest.importorskip("ray")
    server.latency = 0.02
    process = start(plan, "--engine", "ray", "--workers", 2)
    killed = 0
    while process.poll() is None and not killed:
        time.sleep(0.1)
        if server.requests > 100 and (workers := ray_workers()):
            killed = min(workers)
            os.kill(killed, signal.SIGKILL)
    said, faults = process.communicate()
    assert process.returncode == 0, faults
    assert killed, said
    assert contents(tmp_path / "out") == whole["files"]
    assert server.answered.keys() == whole["asked"].keys()
    # What the dead worker had on the wire is asked again, and nothing else.
    assert sum(server.answered.values()) - len(server.answered) <= 32
    assert "INFO" not in faults
    assert "WARNING" not in faults


def test_a_server_without_log_probs_labels_by_its_letters(plan, server, tmp_path):
    server.logprobs = False
    server.text = lambda m, seed: (
        ("A" if share(m) > 0.5 else "B") if "Answer A:" in m[-1]["content"] else words(m, seed)
    )
    assert run(plan, "--json").returncode == 0
    probabilities = {p.extra["probability"] for _, p in load_preferences(tmp_path / "out")}
    assert probabilities == {1.0}


def test_what_is_wrong_with_server_or_key_is_told_in_one_line(plan, server, tmp_path):
    assert_told(run(plan, key=None), "SERVER_KEY is not set")
    assert_told(run(plan, key="wrong"), "refuses the key", "[key]")
    down = yaml.safe_load(plan.read_text(encoding="utf-8"))["labeller"]
    change(plan, writers=[down | {"base_url": "http://127.0.0.1:9/v1"}])
    assert_told(run(plan), "127.0.0.1:9", "no answer after 3 tries", "run again to go on")
    assert not (tmp_path / "out").exists()


def test_settings_that_do_not_fit_are_told_before_anything_is_asked(plan, server):
    assert_told(run(plan, "--engine", "spark"), "use local or ray")
    assert_told(run(plan, "--model", "x"), "--model")
    assert_told(run(plan, "--titles", 9), "--questions")
    change(plan, labeller="measured")
    assert_told(run(plan), "a measured labeller does not read descriptions")
    change(plan, labeler="measured")
    assert_told(run(plan), "unknown key 'labeler'; did you mean 'labeller'?")
    assert server.requests == 0


def test_a_domain_of_ours_has_a_recipe_of_its_own():
    plan = engine_recipe(None, {"domain": "elix", "users": 33}, None, None)
    assert (plan.labeller, plan.users) == ("measured", 33)
    assert engine_recipe(None, {"domain": "elix"}, "m", None).labeller == ModelRecipe(model="m")
    measured = engine_recipe(None, {"domain": "elix"}, "m", "measured")
    assert (measured.labeller, measured.writers[0].model) == ("measured", "m")


@pytest.mark.parametrize("flag", ["--preview", "--budget", "--questions", "--labeller"])
def test_the_demos_reviews_take_no_flags_of_the_engine(tmp_path, flag):
    command = [sys.executable, "-m", "fspo", "synthesize", "reviews", "--out", str(tmp_path / "x")]
    done = subprocess.run([*command, flag, "9"], capture_output=True, text=True, check=False)
    assert_told(done, "--recipe=reviews")
    assert not list(tmp_path.iterdir())


def test_a_preview_asks_nothing_and_writes_nothing(plan, server, tmp_path):
    before = set(tmp_path.iterdir())
    done = run(plan, "--preview", 2, key=None)
    assert done.returncode == 0, done.stderr
    assert "--- labels, request 2" in done.stdout
    assert "--- labels, request 3" not in done.stdout
    assert "upper estimates" in done.stdout
    found = json.loads(run(plan, "--preview", 1, "--json").stdout)
    assert found["purposes"]["answers"]["requests"] == 12 * 3
    assert server.requests == 0
    assert set(tmp_path.iterdir()) == before


def test_answers_that_only_chance_tells_apart(plan, server, tmp_path):
    change(plan, diversity="none")
    assert run(plan).returncode == 0
    out = load_preferences(tmp_path / "out")
    assert len(out) > 20
    assert {preference.extra["chosen_manner"] for _, preference in out} == {""}
    assert "anew each time" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
