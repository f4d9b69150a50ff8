"""VPL as a method: predictions, scores and best answers, and an evaluation from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model

from fspo import Preference, Preferences, User, load_preferences
from fspo.evaluation.evaluate import evaluate
from fspo.evaluation.ranking import rank
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.llm.local import LocalModel
from fspo.methods.build import methods, trained
from fspo.methods.method import Task
from fspo.methods.table import train
from fspo.methods.vpl import VplSettings as VplSection
from fspo.methods.vpl.latent import load_vpl
from fspo.methods.vpl.method import Vpl
from fspo.models import load_model
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

RECIPE = EvaluateRecipe(shots=2, episodes_per_user=2, prompts_per_user=3, max_new_tokens=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a model, and two trained VPLs: of a model that is frozen and that is not."""
    folder = tmp_path_factory.mktemp("vpl")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user, users = {}, []
    for number in range(12):
        split = "train" if number < 8 else "test"
        good, bad = ("I love it.", "I hate it.") if number % 2 else ("I hate it.", "I love it.")
        by_user[f"u{number}"] = [Preference(f"{split} {i}?", good, bad) for i in range(7)]
        attributes = {"sentiment": 1.0 if number % 2 else -1.0, "verbosity": 0.0}
        users.append(User(f"u{number}", "Likes it one way.", attributes, split))
    save_preferences(Preferences(by_user, users), folder / "data", "")
    for frozen in (True, False):
        train(TrainRecipe(
            method="vpl", data=str(folder / "data"), out=str(folder / f"frozen-{frozen}"),
            model=str(folder / "model"), shots=3, episodes=64, batch_size=8, micro_batch_size=8,
            learning_rate=3e-3, lora=Lora(rank=4), warmup_steps=0,
            vpl=VplSection(latent=4, hidden=64, frozen=frozen, samples=4),
        ))  # fmt: skip
    return folder


@pytest.fixture(params=[True, False], ids=["frozen", "adapter"])
def folder(place: Path, request: pytest.FixtureRequest) -> Path:
    return place / f"frozen-{request.param}"


def test_log_odds_are_differences_of_scores(place: Path, folder: Path) -> None:
    method = Vpl("VPL", load_vpl(folder), RECIPE.sampling)
    data = load_preferences(place / "data")
    user, rows = data.users["u8"], data.by_user["u8"]
    shots, targets, counts = rows[:4], rows[4:], [0, 1, 4]
    found = method.log_odds(user, shots, targets, counts)
    assert found.shape == (3, 3)
    for row, count in enumerate(counts):
        for column, t in enumerate(targets):
            chosen, rejected = method.score(user, shots[:count], t.prompt, [t.chosen, t.rejected])
            assert found[row, column] == pytest.approx(chosen - rejected, abs=1e-5)
    exchanged = [Preference(t.prompt, t.rejected, t.chosen) for t in targets]
    np.testing.assert_allclose(method.log_odds(user, shots, exchanged, counts), -found, atol=1e-5)
    assert not np.allclose(found[0], found[2], atol=1e-4)


def test_without_shots_everybody_is_the_same(place: Path, folder: Path) -> None:
    method = Vpl("VPL", load_vpl(folder), RECIPE.sampling)
    one, other = (method.score(User(name), [], "?", ["yes", "no"]) for name in ("a", "b"))
    assert one == other
    with torch.no_grad():  # at z = 0, the prior's mean
        loaded = load_vpl(folder)
        states = loaded.read("", "?", ["yes", "no"])
        assert one == pytest.approx(loaded.reward.rewards(states, torch.zeros(4)).tolist())


def test_everybody_gets_the_best_of_the_same_answers_of_the_base_model(
    place: Path, folder: Path
) -> None:
    method = Vpl("VPL", load_vpl(folder), RECIPE.sampling)
    data = load_preferences(place / "data")
    prompts = ["new?", "newer?"]
    people = ["u8", "u9", "u10"]
    tasks = [Task(data.users[u], data.by_user[u][:3], prompts) for u in people]
    answers = method.answer(tasks, seed=5)
    plain = LocalModel(*load_model(str(place / "model")))
    sampled = plain.chat(
        [[{"role": "user", "content": prompt}] for prompt in sorted(prompts) for _ in range(4)],
        max_new_tokens=6, temperature=RECIPE.temperature, top_p=RECIPE.top_p, seed=5,
    )  # fmt: skip
    candidates = {"new?": sampled[:4], "newer?": sampled[4:]}
    for task, own in zip(tasks, answers, strict=True):
        for prompt, answer in zip(prompts, own, strict=True):
            scores = method.score(task.user, task.shots, prompt, candidates[prompt])
            assert answer == candidates[prompt][int(np.argmax(scores))]
    assert method.answer(tasks, seed=5) == answers


def test_it_is_evaluated_beside_the_others(place: Path, folder: Path) -> None:
    assert [policy.name for policy in trained([folder])] == ["VPL"]
    out = place / f"out-{folder.name}"
    results = evaluate(place / "data", [folder], out, RECIPE, seed=3)
    assert list(results["methods"]) == ["base", "few-shot prompted", "VPL", "oracle"]
    assert results["preference_accuracy"] == results["predictions"]["VPL"]
    assert list(results["preference_accuracy"]["by_shots"]) == ["0", "1", "2"]
    assert results["preference_accuracy"]["by_shots"]["0"] == 0.5  # pairs of opposites


def test_it_ranks_answers_by_its_reward(place: Path, folder: Path) -> None:
    [method] = methods(trained([folder]), [], RECIPE.sampling)
    data = load_preferences(place / "data")
    answers = ["I love it.", "I hate it."]
    user = next(iter(data.by_user))
    scores = method.score(data.users[user], data.by_user[user][-2:], "new?", answers)
    best = rank(method, data, "new?", answers, user, 2)[0]
    assert best["answer"] == answers[int(np.argmax(scores))]
    assert best["reward"] == pytest.approx(max(scores), abs=1e-4)
