"""Stored log-probs of the reference: training as on the fly, and no file for another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, small_model
from safetensors.torch import load_file, save_file

from fspo import FspoError, Preference, Preferences, User
from fspo.learning.train import train
from fspo.methods.table import train as train_method
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe


@pytest.fixture
def place(tmp_path: Path) -> Path:
    small_model().save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    by_user = {
        f"u{n}": [
            Preference(f"q{i}", *(("yes", "no") if n % 2 else ("no", "yes"))) for i in range(5)
        ]
        for n in range(4)
    }
    users = [User(user, "Says so.") for user in by_user]
    save_preferences(Preferences(by_user, users), tmp_path / "data", "")
    return tmp_path


def recipe(place: Path, out: str, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "data": str(place / "data"), "out": str(place / out), "model": str(place / "model"),
        "shots": 3, "episodes": 12, "objective": "dpo", "beta": 0.1, "learning_rate": 5e-3,
        "warmup_steps": 0, "log_every": 1, "lora": Lora(rank=4, alpha=8, last_layers=1),
    }  # fmt: skip
    return TrainRecipe.model_validate(defaults | settings)


def files(place: Path) -> list[Path]:
    return sorted((place / "data" / ".fspo").glob("reference-*.safetensors"))


@pytest.mark.parametrize("lora", [Lora(rank=4, alpha=8, last_layers=1), None])
def test_training_is_that_with_the_reference_on_the_fly(place: Path, lora: Lora | None) -> None:
    weights = "adapter_model.safetensors" if lora else "model.safetensors"
    fly = load_file(train(recipe(place, "fly", lora=lora)) / weights)
    kept = load_file(train(recipe(place, "kept", lora=lora, store_reference=True)) / weights)
    for name, values in fly.items():
        torch.testing.assert_close(kept[name], values, atol=1e-5, rtol=1e-4)


def test_further_runs_read_what_the_first_has_priced(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe(place, "first", store_reference=True))
    [path] = files(place)
    known = load_file(path)
    assert len(known) == 12
    save_file({name: known[name] for name in list(known)[:9]}, path)  # as if it had been killed
    priced = []

    def counted(*arguments: object) -> object:
        priced.append(arguments)
        return stored_price(*arguments)

    stored_price = train.__globals__["reference_logps"]
    monkeypatch.setitem(train.__globals__, "reference_logps", counted)
    train(recipe(place, "second", store_reference=True, learning_rate=1e-4, objective="ipo"))
    assert len(priced) == 3
    assert files(place) == [path]
    for name, logps in load_file(path).items():
        torch.testing.assert_close(logps, known[name])


def test_what_the_log_probs_depend_on_has_files_of_its_own(place: Path) -> None:
    train(recipe(place, "first", store_reference=True))
    for count, changed in enumerate(
        ({"seed": 1}, {"shots": 2}, {"template": "paper"}, {"preferences_per_user": 4},
         {"opposed": 0.5}, {"opposed": 0.5, "episodes": 16}, {"imputed": 0.5},
         {"adapter": str(place / "first")}), 2,
    ):  # fmt: skip
        train(recipe(place, f"other-{count}", store_reference=True, **changed))
        assert len(files(place)) == count
    bare = {"adapter": str(place / "first"), "reference": "model"}
    train(recipe(place, "on", store_reference=True, **bare))
    assert len(files(place)) == count
    other = small_model().requires_grad_(False)
    other.lm_head.weight += 0.1
    other.save_pretrained(place / "model")
    train(recipe(place, "last", store_reference=True))
    assert len(files(place)) == count + 1


def test_descriptions_have_no_stored_reference(place: Path) -> None:
    with pytest.raises(FspoError, match="store_reference: it is for method fspo"):
        train_method(recipe(place, "rat", method="rat", store_reference=True))


def test_a_damaged_file_of_log_probs_is_priced_anew(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(recipe(place, "priced", store_reference=True))
    [path] = files(place)
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b""):
        path.write_bytes(torn)
        again = train(recipe(place, f"torn-{len(torn)}", store_reference=True))
        assert "is damaged, so that the reference's log-probs are computed anew" in (
            capsys.readouterr().err
        )
        name = "adapter_model.safetensors"
        assert (again / name).read_bytes() == (first / name).read_bytes()
        assert path.read_bytes() == whole
