"""The how-tos add a method and an objective, each in one place, and all commands know them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model

import fspo
from fspo import Preference, Preferences, User
from fspo.preferences.writing import save_preferences

DOCS = Path(__file__).parents[2] / "docs"
SOURCE = Path(fspo.__file__).parent
FILE = re.compile(r"^`([\w./]+)`.*?\n```\w+\n(.*?)^```$", re.M | re.S)
LINE = re.compile(r"in `(?:OBJECTIVES|src/fspo/methods/table.py)`:\n\n {4,}(.*)$", re.M)


def linked(folder: Path, original: Path, apart: str) -> None:
    """A folder of links to all that another one holds, but for one entry."""
    folder.mkdir(parents=True)
    for path in original.iterdir():
        if path.name not in (apart, "__pycache__"):
            (folder / path.name).symlink_to(path)


def with_line(text: str, table: str, line: str) -> str:
    """A module's text with one more line at the start of a table."""
    assert text.count(table) == 1
    return text.replace(table, f"{table}\n{line}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of fspo, with what the how-tos add and nothing else changed; a model, and data."""
    here = tmp_path_factory.mktemp("howto")
    linked(here / "src" / "fspo", SOURCE, "methods")
    linked(here / "src" / "fspo" / "methods", SOURCE / "methods", "table.py")
    (here / "src" / "fspo" / "learning").unlink()
    linked(here / "src" / "fspo" / "learning", SOURCE / "learning", "objectives.py")

    howto = (DOCS / "how-to/method.md").read_text(encoding="utf-8")
    files = dict(FILE.findall(howto))
    parts = [f"src/fspo/methods/recent/{part}.py" for part in ("__init__", "method", "train")]
    assert sorted(files) == ["recent.yaml", *parts]
    for name, text in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    [line] = LINE.findall(howto)
    table = (SOURCE / "methods" / "table.py").read_text(encoding="utf-8")
    table = with_line(table, "    for name in (", line)
    (here / "src" / "fspo" / "methods" / "table.py").write_text(table, encoding="utf-8")

    howto = (DOCS / "how-to/objective.md").read_text(encoding="utf-8")
    [function] = re.findall(r"```python\n(.*?)```", howto, re.S)
    [line] = LINE.findall(howto)
    text = (SOURCE / "learning" / "objectives.py").read_text(encoding="utf-8")
    text = f"{with_line(text, 'OBJECTIVES = {', line)}\n\n{function}"
    (here / "src" / "fspo" / "learning" / "objectives.py").write_text(text, encoding="utf-8")

    small_model().save_pretrained(here / "model")
    byte_tokenizer().save_pretrained(here / "model")
    by_user, users = {}, []
    for number in range(8):
        split = "train" if number < 4 else "test"
        pair = ("I love it.", "I hate it.") if number % 2 else ("I hate it.", "I love it.")
        by_user[f"u{number}"] = [Preference(f"{split} {i}?", *pair) for i in range(6)]
        attributes = {"sentiment": 1.0 if number % 2 else -1.0, "verbosity": 0.0}
        users.append(User(f"u{number}", "Likes it one way.", attributes, split))
    save_preferences(Preferences(by_user, users), here / "data", "")
    return here


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fspo", *words]
    environment = os.environ | {"PYTHONPATH": str(place / "src")}
    return subprocess.run(
        line, capture_output=True, text=True, check=False, cwd=place, env=environment
    )


def test_a_method_and_an_objective_are_added_and_train_and_are_evaluated(place: Path) -> None:
    settings = "model: model\nshots: 3\nepisodes: 8\nlog_every: 1\nlora: {rank: 2}\n"
    with (place / "recent.yaml").open("a", encoding="utf-8") as file:
        file.write(f"{settings}objective: hinge\nbeta: 0.1\n")
    training = ("train", "recent.yaml", "--data", "data", "--out", "recent")
    done = run(place, *training)
    assert done.returncode == 0, done.stderr
    written = json.loads((place / "recent" / "fspo.json").read_text(encoding="utf-8"))
    assert (written["method"], written["recent"], written["shots"]) == ("recent", {"shots": 2}, 2)
    log = json.loads((place / "recent" / "training_log.json").read_text(encoding="utf-8"))
    assert log[0]["loss"] == pytest.approx(1, abs=1e-4)  # where the policy is its reference
    card = (place / "recent" / "README.md").read_text(encoding="utf-8")
    assert "FSPO on the last choices, by hinge loss, beta 0.1" in card
    again = run(place, *training)
    assert again.returncode == 2
    assert "holds this run already; add --resume" in again.stderr
    small = "shots: 3\nusers: 3\ntargets: 1\nepisodes_per_user: 1\nprompts_per_user: 1\n"
    (place / "evaluate.yaml").write_text(f"{small}max_new_tokens: 4\n", encoding="utf-8")
    done = run(
        place, "evaluate", "--data", "data", "--policy", "recent", "--out", "results",
        "--recipe", "evaluate.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((place / "results" / "results.json").read_text(encoding="utf-8"))
    assert list(results["methods"]) == ["base", "few-shot prompted", "Recent", "oracle"]
    assert list(results["predictions"]["Recent"]["by_shots"]) == ["0", "1", "2", "3"]


def test_messages_list_what_was_added(place: Path) -> None:
    done = run(place, "train", "--data", "data", "--out", "x", "--objective", "orpo")
    assert done.returncode == 2
    assert "objective: input should be 'hinge', 'ipo', 'dpo' or 'sft'" in done.stderr
    (place / "wrong.yaml").write_text("method: newest\n", encoding="utf-8")
    done = run(place, "train", "wrong.yaml", "--data", "data", "--out", "x")
    assert done.returncode == 2
    assert "method: input should be 'recent', 'fspo', 'rat', 'ric' or 'vpl'" in done.stderr
