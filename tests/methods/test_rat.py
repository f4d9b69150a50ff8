"""RAT from training to evaluation on a small model: it learns to describe, and can be corrected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model

from fspo import (
    FspoError,
    Preference,
    Preferences,
    User,
    completion_logps,
    load_preferences,
)
from fspo.evaluation.evaluate import evaluate
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.learning.policy import load_policy, reference_weights
from fspo.learning.templates import blocks
from fspo.learning.train import training_data
from fspo.learning.tree_builder import Encoder, encode_pairs
from fspo.llm.embedding import Vectors
from fspo.llm.sampling import Sampling
from fspo.methods.method import Task
from fspo.methods.rat.episodes import DescribedEpisodes
from fspo.methods.rat.method import Rat, description_similarity, write_descriptions
from fspo.methods.rat.train import nearer_first, sampled, train
from fspo.methods.rat.trees import answer_context
from fspo.preferences.writing import save_preferences
from fspo.recipe import TrainRecipe


def letters(texts: Sequence[str]) -> Vectors:
    """Vectors of length 1 from how often each letter stands in a text."""
    counts = np.array([[t.lower().count(chr(97 + k)) + 0.01 for k in range(26)] for t in texts])
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rat")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user, users = {}, []
    for number in range(8):
        good, bad = ("yes", "no") if number % 2 else ("no", "yes")
        by_user[f"u{number}"] = [Preference(f"q{i}", good, bad) for i in range(6)]
        told = "aye" if number % 2 else "nix"
        attributes = {"sentiment": 1.0 if number % 2 else -1.0, "verbosity": 0.0}
        users.append(User(f"u{number}", told, attributes, "train" if number < 4 else "test"))
    save_preferences(Preferences(by_user, users), folder / "data", "")
    train(recipe(folder, "policy"), embed=letters)
    return folder


def recipe(folder: Path, out: str) -> TrainRecipe:
    return TrainRecipe.model_validate(
        {
            "method": "rat", "data": str(folder / "data"), "out": str(folder / out),
            "model": str(folder / "model"), "objective": "dpo", "beta": 0.1, "shots": 3,
            "episodes": 12, "batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 0,
            "log_every": 1, "lora": {"rank": 8, "alpha": 16},
            "rat": {"warm_up": 600, "warm_up_learning_rate": 1e-2, "max_tokens": 8, "samples": 3},
        }
    )  # fmt: skip


def test_it_learns_to_describe_users_from_their_shots(place: Path) -> None:
    log = json.loads((place / "policy" / "warm-up" / "training_log.json").read_text())
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    data = load_preferences(place / "data")
    policy = load_policy(place / "policy" / "warm-up")
    shots = [data.by_user[user][:3] for user in ("u4", "u5", "u6", "u7")]
    assert write_descriptions(policy, shots, 8) == ["nix", "aye", "nix", "aye"]


def test_the_last_stage_starts_from_fine_tuning_and_logs_descriptions(place: Path) -> None:
    log = json.loads((place / "policy" / "training_log.json").read_text())
    assert log[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert "accuracy_described" in log[0]
    settings = json.loads((place / "policy" / "fspo.json").read_text())
    assert settings["method"] == "rat"
    assert settings["adapter"] == str(place / "policy" / "warm-up")


def test_a_draw_that_leaves_a_single_preference_is_an_episode_without_shots(place: Path) -> None:
    """One prompt, and responses in several pairs: some draws give two of these, and some one."""
    pairs = [("a", "b"), ("a", "c"), ("b", "d")]
    rows = [Preference("q", *pair) for pair in pairs]
    users = [User("x", "aye"), User("y", "nix")]
    told = recipe(place, "few").model_copy(update={"episodes": 20})
    data = Preferences({"x": rows, "y": [row.reversed() for row in rows]}, users)
    episodes = DescribedEpisodes(data, byte_tokenizer(), told)
    labels = [tuple(episodes[index].labels) for index in range(20)]
    assert () in labels
    assert ("0_shots", "description", "described") in labels


def test_the_nearer_description_alone_is_held_likely(place: Path) -> None:
    """At the first step the margins are 0, so DPO's share of the loss is log 2 for every target."""
    settings = recipe(place, "policy")
    data = training_data(settings)
    lines = (place / "policy" / "descriptions.jsonl").read_text().splitlines()
    written = {row["user_id"]: row["descriptions"] for row in map(json.loads, lines)}
    pairs = nearer_first(written, data, letters)
    assert pairs
    trees = [DescribedEpisodes(data, byte_tokenizer(), settings, pairs)[k] for k in range(4)]
    warm = load_policy(place / "policy" / "warm-up")
    with torch.no_grad():
        scored = completion_logps(warm.model, trees)
    per_token = [
        (float(chosen[place]) / len(tree.chosen[place]), label)
        for tree, (chosen, _) in zip(trees, scored, strict=True)
        for place, label in enumerate(tree.labels)
    ]
    held = -sum(logp for logp, label in per_token if label == "description") / len(per_token)
    assert held > 0.01
    log = json.loads((place / "policy" / "training_log.json").read_text())
    assert log[0]["loss"] == pytest.approx(np.log(2) + held, rel=1e-3)


def test_the_first_stage_can_learn_by_preference(place: Path) -> None:
    settings = recipe(place, "by-preference")
    stages = settings.rat.model_copy(update={"warm_up_objective": "dpo", "warm_up": 300})
    train(settings.model_copy(update={"paired": True, "rat": stages}), embed=letters)
    log = json.loads((place / "by-preference" / "warm-up" / "training_log.json").read_text())
    assert log[0]["margin"] == pytest.approx(0, abs=1e-3)
    last = log[-20:]
    for what in ("description", "described", "2_shots"):
        assert np.mean([row[f"accuracy_{what}"] for row in last if f"accuracy_{what}" in row]) > 0.9
    data = load_preferences(place / "data")
    policy = load_policy(place / "by-preference" / "warm-up")
    shots = [data.by_user[user][:3] for user in ("u4", "u5", "u6", "u7")]
    assert write_descriptions(policy, shots, 8) == ["nix", "aye", "nix", "aye"]


def test_sampling_goes_on_to_the_same_file(place: Path) -> None:
    path = place / "policy" / "descriptions.jsonl"
    whole = path.read_bytes()
    assert len(whole.splitlines()) == 4
    everybody = load_preferences(place / "data")
    data = Preferences(dict(list(everybody.by_user.items())[:6]), everybody.users.values())
    settings = recipe(place, "policy").model_copy(update={"seed": 5})
    warm = place / "policy" / "warm-up"
    first, again = place / "first.jsonl", place / "again.jsonl"
    found = sampled(data, warm, settings, first)
    assert len(first.read_bytes().splitlines()) == 6
    ends = [k + 1 for k, byte in enumerate(first.read_bytes()) if byte == ord("\n")]
    for kept in (0, 20, ends[0], ends[3], ends[4], ends[4] + 5, ends[5]):  # killed here
        again.write_bytes(first.read_bytes()[:kept])
        assert sampled(data, warm, settings, again) == found
        assert again.read_bytes() == first.read_bytes()


def test_pairs_are_nearer_first() -> None:
    users = Preferences({"u": [Preference("q", "a", "b")]}, [User("u", "abc")])
    pairs = nearer_first({"u": ["xyz", "abd", "xyz", "abc"]}, users, letters)
    assert pairs["u"] == [("abc", "abd"), ("abc", "xyz"), ("abd", "xyz")]
    assert nearer_first({"u": ["xyz", "xyz"]}, users, letters) == {}


def test_a_description_can_be_edited_and_passed_back(place: Path) -> None:
    data = load_preferences(place / "data")
    method = Rat("FSPO + RAT", load_policy(place / "policy"), Sampling(max_tokens=4))
    own = Task(data.users["u4"], data.by_user["u4"][:3], ["q5"])
    edited = Task(own.user, own.shots, own.prompts, description="aye")
    assert method.describe([own, edited]) == [method.describe([own])[0], "aye"]
    nobody = Task(own.user, (), own.prompts)
    assert method.describe([nobody, own]) == ["", method.describe([own])[0]]
    told = Task(own.user, (), own.prompts, description="aye")
    tasks = [own, edited, nobody, told]
    assert [len(answers) for answers in method.answer(tasks, seed=0)] == [1] * 4


def test_predictions_follow_an_edited_description(place: Path) -> None:
    data = load_preferences(place / "data")
    method = Rat("FSPO + RAT", load_policy(place / "policy"), Sampling(128))
    shots, targets = data.by_user["u4"][:3], data.by_user["u4"][4:]
    task = Task(data.users["u4"], shots, [])
    [written] = method.describe([task])
    own, same, edited = (
        method.log_odds(task.user, shots, targets, [0, 3], text) for text in ("", written, "aye!")
    )
    np.testing.assert_allclose(own[1], same[1], atol=1e-5)
    assert np.abs(own - edited).min() > 1e-4
    # Without shots nothing is written, and what a person says is all that there is.
    np.testing.assert_allclose(own[0], same_without(method, targets, ""), atol=1e-4)
    np.testing.assert_allclose(edited[0], same_without(method, targets, "aye!"), atol=1e-4)


def same_without(method: Rat, targets: Sequence[Preference], told: str) -> list[float]:
    """The log-odds without shots, by a plain pass over each sequence of tokens."""
    policy, tokenizer = method._policy, byte_tokenizer()
    read, found = Encoder(tokenizer), []
    for target in targets:
        [pair] = encode_pairs(blocks([target], "chain"), read)
        lead = answer_context((), told, target.prompt, tokenizer, 0) if told else None
        lead = lead or [*read.start, *pair.lead]
        gaps = []
        for frozen in (False, True):
            with reference_weights(policy.model) if frozen else nullcontext(), torch.no_grad():
                one, other = (
                    float(plain_logp(policy.model, lead, answer))
                    for answer in (pair.chosen, pair.rejected)
                )
            gaps.append(one - other)
        found.append(policy.beta * (gaps[0] - gaps[1]))
    return found


def plain_logp(model: Any, lead: list[int], answer: Sequence[int]) -> torch.Tensor:
    ids = torch.tensor([[*lead, *answer]])
    logps = model(input_ids=ids).logits[0, len(lead) - 1 : -1].log_softmax(-1)
    return logps.gather(1, ids[0, len(lead) :, None]).sum()


def test_what_was_written_before_is_by_the_fine_tuned_policy(place: Path) -> None:
    data = load_preferences(place / "data")
    method = Rat("FSPO + RAT", load_policy(place / "policy"), Sampling(128))
    warm = Rat("warm-up", load_policy(place / "policy" / "warm-up"), Sampling(128))
    tasks = [Task(data.users[f"u{k}"], data.by_user[f"u{k}"][:3], []) for k in (4, 5)]
    after = method.describe(tasks)
    assert method.describe_before(tasks) == warm.describe(tasks)
    assert method.describe(tasks) == after


def test_a_bare_model_as_reference_has_described_nobody(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "policy", tmp_path / "policy")
    shutil.rmtree(tmp_path / "policy" / "reference")  # `reference: model` writes none
    data = load_preferences(place / "data")
    method = Rat("FSPO + RAT", load_policy(tmp_path / "policy"), Sampling(128))
    assert method.describe_before([Task(data.users["u4"], data.by_user["u4"][:3], [])]) is None


def test_it_is_evaluated_beside_the_others(place: Path) -> None:
    settings = EvaluateRecipe(judge="reviews", shots=3, prompts_per_user=2, max_new_tokens=4)
    results = evaluate(place / "data", [place / "policy"], place / "out", settings)
    assert list(results["methods"]) == ["base", "few-shot prompted", "FSPO + RAT", "oracle"]
    by_shots = results["predictions"]["FSPO + RAT"]["by_shots"]
    assert list(by_shots) == ["0", "1", "2", "3"]
    nearness = results["descriptions"]["FSPO + RAT"]
    assert set(nearness["by_user"]) == {"u4", "u5", "u6", "u7"}
    assert nearness["mean"] > nearness["chance"] or nearness["mean"] == 1.0
    assert -1 <= nearness["before"] <= 1.001


def test_similarity_and_chance() -> None:
    found = description_similarity(
        {"u": "aaa", "v": "bbb"}, {"u": "aaa", "v": "ccc"}, letters
    )  # fmt: skip
    assert found["by_user"]["u"] == pytest.approx(1.0, abs=1e-3)
    assert found["by_user"]["v"] < 0.1
    assert found["mean"] == pytest.approx(np.mean(list(found["by_user"].values())), abs=1e-3)
    assert found["chance"] < 0.1


def test_faults_are_named(place: Path) -> None:
    users = {"u": [Preference(f"q{k}", "a", "b") for k in range(4)]}
    save_preferences(Preferences(users), place / "plain", "")
    plain = recipe(place, "none").model_copy(update={"data": str(place / "plain")})
    with pytest.raises(FspoError, match="user 'u' has no description"):
        train(plain, embed=letters)
    with pytest.raises(FspoError, match="take template: chain"):
        train(recipe(place, "none").model_copy(update={"template": "paper"}), embed=letters)
    with pytest.raises(FspoError, match="give a lora"):
        train(recipe(place, "none").model_copy(update={"lora": None}), embed=letters)
