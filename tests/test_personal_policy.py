"""The public face: what a program trains, loads and evaluates, beside a naive re-computation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model

import fspo
from fspo import Episode, EpisodeTree, FspoError, Preference
from fspo.learning.policy import load_policy as load_weights
from fspo.learning.policy import reference_weights

WORDS = ["red", "green", "blue", "pink", "white", "black"]


def chosen_by(user: int) -> list[Preference]:
    pairs = [(f"{word} is fine.", f"{word} is bad.") for word in WORDS]
    ordered = pairs if user % 2 else [pair[::-1] for pair in pairs]
    return [Preference(f"And {w}?", *pair) for w, pair in zip(WORDS, ordered, strict=True)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    rows = [
        {"user_id": f"u{user}", "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
        for user in range(8)
        for p in chosen_by(user)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "data.jsonl").write_text(lines, encoding="utf-8")
    trained = fspo.train(
        data=str(folder / "data.jsonl"),
        out=str(folder / "policy"),
        model=str(folder / "model"),
        episodes=4,
        shots=3,
        holdout_users=0.25,
        learning_rate=0.01,
    )
    assert trained == folder / "policy"
    return folder


@pytest.fixture(scope="module")
def policy(place: Path) -> fspo.PersonalPolicy:
    return fspo.load_policy(place / "policy", max_new_tokens=5)


def naive_rewards(folder: Path, shots: list[Preference], answers: list[str]) -> list[float]:
    """Beta times log pi less log pi_ref of each answer, each in an episode of its own."""
    weights, found = load_weights(folder), []
    for answer in answers:
        asked = Episode("anybody", [*shots, Preference("New?", answer, answer + "!")])
        tree = EpisodeTree.from_episode(asked, weights.tokenizer)
        with torch.no_grad():
            [(own, _)] = fspo.completion_logps(weights.model, [tree])
            with reference_weights(weights.model):
                [(reference, _)] = fspo.completion_logps(weights.model, [tree])
        found.append(weights.beta * (own[-1] - reference[-1]).item())
    return found


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rewards_are_those_of_naive_log_probs(
    place: Path, policy: fspo.PersonalPolicy, count: int
) -> None:
    answers, shots = ["yes", "no, never", "maybe so"], chosen_by(1)[:count]
    rewards = policy.reward(shots, "New?", answers)
    expected = naive_rewards(place / "policy", shots, answers)
    np.testing.assert_allclose(rewards, expected, atol=1e-4)
    ranked = policy.rank(shots, "New?", answers)
    assert [row.index for row in ranked] == sorted(range(3), key=lambda n: -rewards[n])
    assert [row.answer for row in ranked] == [answers[row.index] for row in ranked]
    exps = np.exp(rewards) / np.exp(rewards).sum()
    np.testing.assert_allclose([row.probability for row in ranked], sorted(exps)[::-1])


def test_of_more_shots_than_it_was_trained_for_the_last_are_read(
    policy: fspo.PersonalPolicy,
) -> None:
    assert policy.shots == 3
    many, last = chosen_by(0), chosen_by(0)[-3:]
    assert policy.reward(many, "New?", ["a", "b"]) == policy.reward(last, "New?", ["a", "b"])
    assert policy.answer(many, "New?") == policy.answer(last, "New?")


def test_an_answer_depends_on_its_seed_alone(policy: fspo.PersonalPolicy) -> None:
    state = torch.random.get_rng_state()
    written = [policy.answer(chosen_by(0), "New?", seed=seed) for seed in (0, 1, 2, 0)]
    assert written[0] == written[3]
    assert len(set(written)) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_faults_of_arguments_are_named(place: Path, policy: fspo.PersonalPolicy) -> None:
    with pytest.raises(FspoError, match="answer 2 is empty"):
        policy.rank([], "New?", ["a", " "])
    with pytest.raises(FspoError, match="prompt: holds half a character"):
        policy.answer([], "\ud800")
    with pytest.raises(FspoError, match="not trained to describe"):
        policy.describe(chosen_by(0))
    with pytest.raises(FspoError, match="temperature"):
        fspo.load_policy(place / "policy", temperature=-1)
    with pytest.raises(FspoError, match=r"nowhere.fspo\.json: not found"):
        fspo.load_policy(place / "nowhere")
    with pytest.raises(FspoError, match="episods"):
        fspo.train(episods=3)
    assert policy.reward([], "New?", []) == []
    assert policy.rank([], "New?", []) == []


def test_evaluation_returns_what_it_writes(place: Path) -> None:
    out = place / "evaluation"
    results = fspo.evaluate(
        place / "data.jsonl", [place / "policy"], out, judge="none", users=2, shots=2
    )
    written = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(results)) == written
    assert written["policies"] if "policies" in written else written["methods"]


def test_the_bundled_policy_is_found_by_its_name() -> None:
    from fspo.bundled import BUNDLED, policy_folder

    assert (policy_folder("fspo-reviews") / "fspo.json").is_file()
    assert policy_folder("elsewhere") == Path("elsewhere")
    assert policy_folder(BUNDLED) == BUNDLED


def test_importing_the_package_loads_nothing_large() -> None:
    code = "import sys, fspo; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
