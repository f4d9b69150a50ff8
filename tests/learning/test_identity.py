"""A run and its policy are of what they were made from, wherever that lies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model

from fspo import FspoError, Preference, Preferences, load_model, load_preferences
from fspo.fingerprints import of_model
from fspo.learning.adapters import policy_and_reference
from fspo.learning.learned import LEARNED, load_learned
from fspo.learning.policy import load_policy, read_settings
from fspo.methods.build import trained
from fspo.methods.table import train
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

ROWS = [
    {"user_id": f"u{n}", "prompt": f"q{i}", "chosen": "no yes"[n % 2 :], "rejected": "maybe"}
    for n in range(4)
    for i in range(5)
]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, and a policy that was trained with relative paths."""
    folder = tmp_path_factory.mktemp("identity")
    small_model().save_pretrained(folder / "tiny")
    byte_tokenizer().save_pretrained(folder / "tiny")
    write(folder / "p.jsonl", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(recipe("pol"))
        train(recipe("whole", lora=None, learning_rate=1e-4))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which one is."""
    shutil.copytree(made, tmp_path / "work")
    for path in (tmp_path / "work").glob("*/fspo.json"):  # as if it had been trained here
        path.write_text(path.read_text().replace(str(made), str(tmp_path / "work")))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "work"


def recipe(out: str, **settings: object) -> TrainRecipe:
    given: dict[str, object] = {
        "data": "p.jsonl", "out": out, "model": "tiny", "shots": 2, "episodes": 2,
        "log_every": 1, "lora": Lora(rank=2),
    }  # fmt: skip
    return TrainRecipe.model_validate(given | settings)


def turned_round(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["chosen"], rows[0]["rejected"] = rows[0]["rejected"], rows[0]["chosen"]
    write(path, rows)


def other_weights(folder: Path) -> None:
    small_model(seed=1).save_pretrained(folder)


CHANGES: dict[str, Callable[[], object]] = {
    "other data: data": lambda: turned_round(Path("p.jsonl")),
    "another model: model": lambda: other_weights(Path("tiny")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_in_place_is_no_run_to_go_on_with(place: Path, what: str) -> None:
    assert train(recipe("pol"), resume=True) == Path("pol")
    CHANGES[what]()
    with pytest.raises(FspoError, match=f"pol: this folder holds a run on {what}"):
        train(recipe("pol"), resume=True)
    # Nor is one that was killed, which has no settings yet.
    (place / "pol" / "fspo.json").unlink()
    (place / "pol" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(FspoError, match=f"on {what}"):
        train(recipe("pol"), resume=True)


def test_the_same_data_and_model_are_taken_wherever_they_lie(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("tiny", place.parent / "base")
    mixed = sorted(ROWS, key=lambda row: row["prompt"])
    write(place / "mixed.jsonl", mixed)
    save_preferences(load_preferences("p.jsonl"), place / "folder", "")
    for data in ("./p.jsonl", str(place / "p.jsonl"), "mixed.jsonl", "folder"):
        assert train(recipe("pol", data=data), resume=True) == Path("pol")
    (place / "sub").mkdir()
    monkeypatch.chdir(place / "sub")
    there = recipe("../pol", data="../folder", model=str(place.parent / "base"))
    assert train(there, resume=True) == Path("../pol")
    reordered = write(place / "reordered.jsonl", ROWS[::-1])
    with pytest.raises(FspoError, match=r"other data: .* \(then it was '\.\./folder'\)"):
        train(recipe("../pol", data=str(reordered), model="../tiny"), resume=True)


def test_a_changed_adapter_is_another_one(place: Path) -> None:
    train(recipe("on", adapter="pol"))
    shutil.copytree("pol", "copy")
    assert train(recipe("on", adapter="copy"), resume=True) == Path("on")
    path = place / "copy" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(FspoError, match="on another adapter: adapter 'copy' is not"):
        train(recipe("on", adapter="copy"), resume=True)


def test_runs_of_an_earlier_version_are_told_by_their_paths(place: Path) -> None:
    (place / "pol" / "fingerprints.json").unlink()
    shutil.copy("p.jsonl", "q.jsonl")
    with pytest.raises(FspoError, match=r"data: 'p\.jsonl' there, 'q\.jsonl' here"):
        train(recipe("pol", data="q.jsonl"), resume=True)
    assert train(recipe("pol", data="./p.jsonl"), resume=True) == Path("pol")


@pytest.mark.parametrize("policy", ["pol", "whole"])
def test_a_policy_works_from_anywhere_and_is_found_after_a_move(
    place: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = load_policy(policy).rewards("u", [], "q", ["yes", "no"])
    (place / "sub").mkdir()
    monkeypatch.chdir(place / "sub")
    assert load_policy(f"../{policy}").rewards("u", [], "q", ["yes", "no"]) == told
    moved = place.parent / "moved"
    monkeypatch.chdir(place.parent)
    place.rename(moved)
    assert load_policy(moved / policy).rewards("u", [], "q", ["yes", "no"]) == told
    # What lies where the base was is not taken for it, nor is what has its name here.
    shutil.copytree(moved / "tiny", place / "tiny")
    other_weights(place / "tiny")
    shutil.copytree(place / "tiny", "tiny")
    assert load_policy(moved / policy).rewards("u", [], "q", ["yes", "no"]) == told
    shutil.rmtree(place / "tiny")
    shutil.rmtree(moved / "tiny")
    with pytest.raises(FspoError, match=r"its base model was in \S+tiny, and is not there now"):
        load_policy(moved / policy)
    with pytest.raises(FspoError, match="its base model was in"):
        trained([moved / policy])


def test_other_tools_find_the_base_of_an_adapter(place: Path) -> None:
    for folder in ("pol", "on"):
        if folder == "on":
            train(recipe("on", adapter="pol"))
        config = json.loads((place / folder / "adapter_config.json").read_text())
        assert Path(config["base_model_name_or_path"]).is_absolute()


@pytest.mark.parametrize("name", ["tiny", "./tiny", "models/../tiny"])
def test_a_relative_path_of_an_earlier_version_is_never_a_model_of_the_hub(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((place / "pol" / "fspo.json").read_text())
    del settings["beside"], settings["fingerprints"]
    (place / "pol" / "fspo.json").write_text(json.dumps(settings | {"model": name}))
    (place / "models").mkdir()
    (place / "sub").mkdir()
    monkeypatch.chdir(place / "sub")
    assert load_policy("../pol").model is not None  # it lies beside the policy
    (place / "tiny").rename(place / "another-name")
    (place / "pol" / "README.md").unlink()
    for load in (load_policy, load_model, lambda folder: trained([folder])):
        with pytest.raises(FspoError, match="a path from the folder in which it was trained"):
            load(str(Path("..") / "pol"))
    monkeypatch.chdir(place)
    (place / "another-name").rename(place / "tiny")
    assert read_settings("pol")["model"] in ("tiny", "./tiny", "models/../tiny")


def test_a_base_that_changed_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_policy("pol")
    assert "is not what it was" not in capsys.readouterr().err
    other_weights(place / "tiny")
    load_policy("pol")
    assert "tiny is not what it was when the policy was trained" in " ".join(
        capsys.readouterr().err.split()
    )
    with pytest.raises(FspoError, match=r"this run has model: \S+tiny \(which has changed since"):
        policy_and_reference(recipe("on", adapter="pol", model=str(place / "tiny")))


def test_a_policy_says_what_it_was_made_from(place: Path) -> None:
    settings = json.loads((place / "pol" / "fspo.json").read_text())
    assert set(settings["fingerprints"]) == {"data", "model", "template"}
    assert settings["fingerprints"]["model"] == of_model("tiny")
    assert settings["model"] == str(place / "tiny")
    assert settings["beside"] == {"data": "../p.jsonl", "model": "../tiny"}
    again = train(recipe("again", data=str(place / "p.jsonl"), model="./tiny"))
    assert read_settings(again)["fingerprints"] == settings["fingerprints"]
    assert (again / LEARNED).read_bytes() == (place / "pol" / LEARNED).read_bytes()


def test_what_a_policy_went_on_from_is_noted_with_it(place: Path) -> None:
    write(place / "other.jsonl", [row | {"user_id": "x" + row["user_id"]} for row in ROWS])
    train(recipe("on", adapter="pol", data="other.jsonl"))
    shutil.rmtree("pol")
    own, before = load_learned(Path("on"))
    every = load_preferences("p.jsonl")
    assert own.users_in(every) == set()
    assert before.users_in(every) == {"u0", "u1", "u2", "u3"}


@pytest.mark.parametrize("damage", [b"", b"PK\x05\x06", None])
def test_a_damaged_list_of_what_was_learned_is_named(place: Path, damage: bytes | None) -> None:
    path = place / "pol" / LEARNED
    path.write_bytes(path.read_bytes()[:100] if damage is None else damage)
    with pytest.raises(FspoError, match="this is not what `fspo train` writes"):
        load_learned(Path("pol"))


def test_the_card_is_written_and_tells_no_place_on_this_machine(place: Path) -> None:
    rows = [Preference(f"q{i}", "a", "b") for i in range(5)]
    odd = place / "<b>my_data*"
    save_preferences(Preferences({"u": rows, "v": rows}), odd, "")
    train(recipe("on", adapter="pol", data=str(odd), beta=0.25, holdout_users=0.5))
    for folder in ("pol", "whole", "on"):
        text = (place / folder / "README.md").read_text()
        assert "More Information Needed" not in text
        assert str(place.parent) not in text
        for told in (
            f"# {folder}",
            "Base model: a model in a local folder, tiny",
            "`fspo.json`",
            "Pairs told rightly",
            "--policy FOLDER",
            "episodes of up to 2 shots",
        ):
            assert told in text
    assert "p.jsonl, 20 preferences of 4 users." in (place / "pol" / "README.md").read_text()
    assert "all weights" in (place / "whole" / "README.md").read_text()
    for told in (r"\<b\>my\_data\*, 5 preferences of 1 users, with 50% of users held out.",
                 "IPO, beta 0.25", "Went on from: pol"):  # fmt: skip
        assert told in text
    assert not (place / "on" / "reference" / "README.md").exists()
