"""Models of unlike kinds from training to the assistant, and what is found of them at load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import small_architecture
from conftest import byte_tokenizer, small_model
from transformers import PreTrainedModel
from typer.testing import CliRunner

import fspo.learning.exactness as exactness
from fspo import FspoError, Preference, Preferences, User, load_model
from fspo.assistant.backend import Person
from fspo.assistant.local import LocalBackend
from fspo.cli import app
from fspo.learning.planning import plan
from fspo.learning.policy import load_policy
from fspo.llm.sampling import Sampling
from fspo.preferences.writing import save_preferences
from fspo.recipe import TrainRecipe

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant: {% endif %}"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    exactness._say_once.cache_clear()
    return tmp_path / "cache" / "exactness"


def saved(folder: Path, model: PreTrainedModel) -> Path:
    model.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def data(folder: Path) -> Path:
    rows = {
        f"u{u}": [Preference(f"Question {q}?", f"yes {q} {u}", f"no {q}") for q in range(4)]
        for u in range(4)
    }
    save_preferences(Preferences(rows, [User(u) for u in rows]), folder, "")
    return folder


@pytest.mark.parametrize(("kind", "slower"), [("lfm2", True), ("granite", False), ("bloom", True)])
def test_a_kind_of_model_works_from_training_to_the_assistant(
    tmp_path: Path, kind: str, slower: bool
) -> None:
    base = small_architecture(kind)
    base.config.max_position_embeddings = 4096
    model, rows = saved(tmp_path / "model", base), data(tmp_path / "data")
    out = tmp_path / "policy"
    recipe = {"model": str(model), "data": str(rows), "shots": 2, "episodes": 4}
    assert plan(TrainRecipe(**recipe)).steps

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, result.output
        return result.stderr

    flags = [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    told = run("train", *flags, "--out", str(out))
    assert told.count("which is slower") == slower
    asked = ("--policy", str(out))
    run("evaluate", "--data", str(rows), *asked, "--out", str(tmp_path / "e"), "--shots", "2")
    run("rank", "--preferences", str(rows), "--user", "u0", "--prompt", "Which?", "--answer", "a",
        "--answer", "b", *asked)  # fmt: skip
    policy = load_policy(out)
    assert policy.rewards("u0", [Preference("a?", "b", "c")], "d?", ["e", "f"])
    backend = LocalBackend(str(out))
    person = Person("u0", [Preference("a?", "b", "c")])
    messages = [{"role": "user", "content": "How?"}]
    reply = backend.reply(person, messages, Sampling(max_tokens=4))
    assert isinstance("".join(reply.pieces), str)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    checked: list[str] = []
    check: Callable[..., bool] = exactness.check_exact

    def counting(model: PreTrainedModel, name: str) -> bool:
        checked.append(name)
        return check(model, name)

    monkeypatch.setattr(exactness, "check_exact", counting)
    return checked


def test_a_model_is_checked_once_for_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    checked = counted(monkeypatch)
    folder = saved(tmp_path / "model", small_architecture("lfm2"))
    for _ in range(2):
        model, _ = load_model(str(folder))
        assert exactness.reads_paths(model)
    load_model(str(folder.rename(tmp_path / "moved")))
    assert len(checked) == 1
    saved(tmp_path / "moved", small_architecture("lfm2", seed=1))
    load_model(str(tmp_path / "moved"))
    assert len(checked) == 2
    for note in cache.iterdir():
        note.write_text("{" + note.read_text())
    load_model(str(tmp_path / "moved"))
    assert len(checked) == 3
    monkeypatch.setattr("fspo.__version__", "another")
    load_model(str(tmp_path / "moved"))
    assert len(checked) == 4
    monkeypatch.setattr(torch, "__version__", f"{torch.__version__}.1")
    load_model(str(tmp_path / "moved"))
    assert len(checked) == 5
    newest = max(cache.iterdir(), key=lambda note: note.stat().st_mtime_ns)
    assert {"paths", "writing"} <= json.loads(newest.read_text()).keys()


def test_a_model_that_is_not_right_is_refused_at_every_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model", small_architecture("cpmant"))
    for _ in range(2):
        with pytest.raises(FspoError, match=rf"model '{folder}': models of kind cpmant are not"):
            load_model(str(folder))


def test_a_cache_that_cannot_be_written_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "file"))
    checked = counted(monkeypatch)
    folder = saved(tmp_path / "model", small_model())
    for _ in range(2):
        load_model(str(folder))
    assert len(checked) == 2
