"""What things are by their content: the same wherever they lie, another after any change."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User, fingerprints, load_preferences
from fspo.fingerprints import of_folder, of_model, of_rows, of_template
from fspo.preferences.writing import save_preferences

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
PAIR = st.tuples(TEXT, TEXT).filter(lambda pair: pair[0] != pair[1])
ROWS = st.lists(st.tuples(st.sampled_from("abc"), TEXT, PAIR), min_size=1, max_size=8)


def preferences(rows: list[tuple[str, str, tuple[str, str]]], source: str = "") -> Preferences:
    by_user: dict[str, list[Preference]] = {}
    for user, prompt, pair in rows:
        by_user.setdefault(user, []).append(Preference(prompt, *pair))
    return Preferences(by_user, [User(user, f"Is {user}.") for user in by_user], source)


@given(ROWS, st.randoms())
def test_rows_count_by_user_and_order_however_users_are_mixed(rows: list, random: object) -> None:
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    order = list(dict.fromkeys(row[0] for row in rows))
    mixed.sort(key=lambda row: order.index(row[0]))
    same = [row for user in order for row in rows if row[0] == user]
    told = of_rows(preferences(rows, "here"))
    assert of_rows(preferences(same, "there")) == told
    assert (of_rows(preferences(mixed)) == told) == (mixed == same)


@given(ROWS, st.data())
def test_any_changed_row_has_another_fingerprint(rows: list, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    user, prompt, (chosen, rejected) = rows[place]
    changed = data.draw(
        st.sampled_from(
            [
                [(user + "x", prompt, (chosen, rejected))],
                [(user, prompt + " ", (chosen, rejected))],
                [(user, prompt, (rejected, chosen))],
                [(user, prompt + chosen, (rejected, chosen))],
                [(user, prompt, (chosen + prompt, rejected))],
                [(user, prompt, (chosen, rejected + "\n"))],
                [rows[place], rows[place]],
                [],
            ]
        )
    )
    other = preferences([*rows[:place], *changed, *rows[place + 1 :]])
    assert of_rows(other) != of_rows(preferences(rows))


@given(ROWS)
def test_texts_cannot_run_into_each_other(rows: list) -> None:
    """One row whose fields hold what separates those of others is not these others."""
    joined = json.dumps([[prompt, *pair] for _, prompt, pair in rows])
    one = [(rows[0][0], joined, ("a", "b"))]
    assert of_rows(preferences(one)) != of_rows(preferences(rows))


def test_rows_are_the_same_in_any_file(tmp_path: Path) -> None:
    rows = [("a", "é\u2028", ("1", "2")), ("b", "", ("x\n", "y")), ("a", "q", ("3", "4"))]
    save_preferences(preferences(rows), tmp_path / "folder", "")
    lines = [
        json.dumps({"user_id": u, "prompt": q, "chosen": c, "rejected": r, "more": 1})
        for u, q, (c, r) in rows
    ]
    (tmp_path / "file.jsonl").write_text("\n".join(lines))
    parquet = load_preferences(tmp_path / "folder")
    plain = load_preferences(tmp_path / "file.jsonl")
    known = Preferences(plain.by_user, parquet.users.values())
    assert of_rows(known) == of_rows(parquet) == of_rows(preferences(rows))
    assert of_rows(plain) != of_rows(parquet)  # which says who the users are


@pytest.fixture
def model(tmp_path: Path) -> Path:
    small_model().save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edited(path: Path, change: Callable[[dict], object]) -> None:
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(settings))


def test_a_model_is_the_same_in_a_copy_and_another_after_any_change(model: Path) -> None:
    told = of_model(str(model))
    copy = model.parent / "elsewhere" / "copy"
    shutil.copytree(model, copy)
    assert of_model(str(copy)) == told
    (copy / "README.md").write_text("no part of it")
    (copy / "optimizer.pt").write_bytes(b"nor this")
    edited(copy / "config.json", lambda c: c.update(transformers_version="9", _name_or_path="x"))
    assert of_model(str(copy)) == told
    seen = {told}
    for name, change in {
        "config.json": lambda p: edited(p, lambda c: c.update(rms_norm_eps=1e-3)),
        "tokenizer_config.json": lambda p: edited(p, lambda c: c.update(model_max_length=9)),
        "tokenizer.json": lambda p: p.write_text(p.read_text().replace("<|start|>", "<|begin|>")),
        "chat_template.jinja": lambda p: p.write_text("{{ messages }}"),
        "model.safetensors": lambda p: small_model(seed=1).save_pretrained(p.parent),
    }.items():
        change(copy / name)
        assert of_model(str(copy)) not in seen, name
        seen.add(of_model(str(copy)))


def test_an_adapter_is_known_by_itself_and_its_base(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(small_model(), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = str(model)
    adapted.save_pretrained(tmp_path / "adapter")
    told, own = of_model(str(tmp_path / "adapter")), of_folder(tmp_path / "adapter")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert of_model(str(tmp_path / "adapter")) != told
    assert of_folder(tmp_path / "adapter") == own


def test_a_large_file_is_hashed_once_and_again_when_it_changed_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "_SETTLED", 0.0)
    folder = tmp_path / "model"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(1 << 20))
    time.sleep(0.01)
    told = of_folder(folder)
    [note] = (tmp_path / "cache" / "hashes").iterdir()
    assert of_folder(folder) == told
    known = json.loads(note.read_text())
    note.write_text(json.dumps(known | {"sha256": "0"}))  # read, so that it was not hashed again
    assert of_folder(folder) != told
    times = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"x")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # as `cp -p` leaves them
    changed = of_folder(folder)
    assert changed != told
    for damaged in ("", "[]", "{}", "null", '{"state": 1}'):
        note.write_text(damaged)
        assert of_folder(folder) == changed
    (tmp_path / "cache" / "hashes" / "x").mkdir()
    monkeypatch.setenv("FSPO_CACHE", str(weights))  # no place for notes
    assert of_folder(folder) == changed


def test_what_changed_just_now_is_not_noted_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might change again within a tick of the clock, and nobody could tell."""
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.safetensors").write_bytes(bytes(1 << 20))
    of_folder(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_model_of_the_hub_is_told_by_its_commit(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--somebody--small"
    told = []
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(model, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)
        told.append(of_model("somebody/small"))
    assert told[0] != told[1]
    (place / "refs" / "main").write_text("a" * 40)
    assert of_model("somebody/small") == told[0]
    with pytest.raises(FspoError, match="cannot be loaded"):
        of_model("somebody/other")


def test_templates_have_their_own() -> None:
    assert of_template("chain") != of_template("paper")
    with pytest.raises(FspoError, match="no template"):
        of_template("other")


def test_a_template_is_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {name: of_template(name) for name in ("chain", "paper")}
    monkeypatch.setattr("fspo.learning.templates.QUESTION", "## Query\n")
    assert all(of_template(name) != told[name] for name in told)
