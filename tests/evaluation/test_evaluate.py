"""Evaluation end to end on a small model: what is written, and figures against recomputation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model
from safetensors.torch import load_file, save_file

from fspo import (
    Episode,
    EpisodeTree,
    FspoError,
    Preference,
    Preferences,
    User,
    completion_logps,
    load_preferences,
)
from fspo.domains import load_domain
from fspo.evaluation.answer_cache import AnswerCache, dependencies
from fspo.evaluation.audit import prompts
from fspo.evaluation.auditing import render, run_audit
from fspo.evaluation.evaluate import evaluate
from fspo.evaluation.ranking import rank
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.evaluation.repetition import repetition
from fspo.evaluation.report import report
from fspo.judging.measured import MeasuredJudge
from fspo.judging.verdicts import Comparison
from fspo.learning.policy import load_policy
from fspo.learning.train import train
from fspo.methods.build import trained
from fspo.methods.fspo.method import InContext
from fspo.methods.method import Task
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

RECIPE = EvaluateRecipe(shots=2, episodes_per_user=2, prompts_per_user=3, max_new_tokens=8)
METHODS = ["base", "few-shot prompted", "FSPO", "oracle"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user, users = {}, []
    for number in range(8):
        split = "train" if number < 4 else "test"
        taste = 1.0 if number % 2 else -1.0
        good, bad = ("I love it.", "I hate it.") if number % 2 else ("I hate it.", "I love it.")
        by_user[f"u{number}"] = [Preference(f"{split} {i}?", good, bad) for i in range(7)]
        attributes = {"sentiment": taste, "verbosity": 0.0, "kind": f"kind {number % 2}"}
        users.append(User(f"u{number}", "Likes it one way.", attributes, split))
    save_preferences(Preferences(by_user, users), folder / "data", "")
    settings = TrainRecipe(
        data=str(folder / "data"), out=str(folder / "policy"), model=str(folder / "model"),
        shots=3, episodes=6, learning_rate=1e-2, lora=Lora(rank=4), warmup_steps=0,
    )  # fmt: skip
    train(settings)
    return folder


def test_results_say_what_the_issue_asks_for(place: Path) -> None:
    results = evaluate(place / "data", [place / "policy"], place / "out", RECIPE, seed=3)
    assert json.loads((place / "out" / "results.json").read_text()) == results
    assert list(results["methods"]) == METHODS
    for method in results["methods"].values():
        assert method["n"] == 4 * 3
        assert method["ci95"][0] <= method["winrate"] <= method["ci95"][1]
    base = results["methods"]["base"]
    assert (base["winrate"], base["ci95"]) == (50.0, [50.0, 50.0])
    assert list(results["preference_accuracy"]["by_shots"]) == ["0", "1", "2"]
    assert results["preference_accuracy"]["n"] == 4 * 2 * 2
    assert list(results["predictions"]) == METHODS
    assert results["users"] == {"train": 4, "test": 4}
    assert set(results["example"]["prompts"][0]["answers"]) == set(METHODS)
    assert results["judge_agrees"]["share"] == 1.0  # these users choose as the measures do
    assert "FSPO" in report(place / "out").read_text()


def test_win_rates_alone_are_those_that_stand_beside_predictions(place: Path) -> None:
    alone = RECIPE.model_copy(update={"predict": "none"})
    both = evaluate(place / "data", [place / "policy"], place / "both", RECIPE, seed=3)
    results = evaluate(place / "data", [place / "policy"], place / "alone", alone, seed=3)
    assert results["methods"] == both["methods"]
    assert results["predictions"] == {}
    assert "accuracy with" not in report(place / "alone").read_text()
    users = results["methods"]["FSPO"]["by_user"]
    values = [value for own in users.values() for value in own]
    assert sum(values) / len(values) == pytest.approx(results["methods"]["FSPO"]["winrate"])
    kept = (place / "alone" / "answers" / "FSPO").glob("*.json")
    texts = [text for file in kept for own in json.loads(file.read_text()) for text in own]
    shares = [100 * repetition(text) for text in texts]
    assert len(shares) == len(values)
    found = results["methods"]["FSPO"]["repetition"]
    assert found == pytest.approx(sum(shares) / len(shares), abs=0.05)


def test_accuracy_equals_a_naive_recomputation(place: Path) -> None:
    results = evaluate(place / "data", [place / "policy"], place / "out2", RECIPE, seed=3)
    policy, data = load_policy(place / "policy"), load_preferences(place / "data")
    hits: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for user in ["u4", "u5", "u6", "u7"]:
        for draw in range(2):
            order = np.random.default_rng([3, draw]).permutation(7)
            rows = [data.by_user[user][index] for index in order]
            for target in rows[:2]:
                for shots in range(3):
                    episode = Episode(user, [*rows[2 : 2 + shots], target])
                    tree = EpisodeTree.from_episode(episode, policy.tokenizer)
                    with torch.no_grad():
                        ((good, bad),) = completion_logps(policy.model, [tree])
                        with policy.model.disable_adapter():
                            ((good_ref, bad_ref),) = completion_logps(policy.model, [tree])
                    h = (good[-1] - bad[-1]) - (good_ref[-1] - bad_ref[-1])
                    hits[shots].append(float(h > 0))
    expected = {str(shots): round(float(np.mean(own)), 4) for shots, own in hits.items()}
    accuracy = results["preference_accuracy"]
    assert accuracy["by_shots"] == expected
    gain = np.mean(np.array(hits[2]) - np.array(hits[0]))
    assert accuracy["gain"]["2"]["mean"] == pytest.approx(gain, abs=1e-4)


def test_with_every_shot_turned_round_accuracy_equals_a_naive_recomputation(place: Path) -> None:
    recipe = RECIPE.model_copy(update={"mirrored": True, "judge": "none", "predict": "policies"})
    results = evaluate(place / "data", [place / "policy"], place / "mirrored", recipe, seed=3)
    assert list(results["predictions"])[:2] == ["FSPO", "FSPO, mirrored"]
    policy, data = load_policy(place / "policy"), load_preferences(place / "data")

    def margin(shots: list[Preference], target: Preference) -> float:
        tree = EpisodeTree.from_episode(Episode("u", [*shots, target]), policy.tokenizer)
        (margins,) = policy.margins([tree])
        return float(margins[-2] - margins[-1])

    hits: dict[str, list[float]] = {"0": [], "1": [], "2": []}
    for user in ["u4", "u5", "u6", "u7"]:
        for draw in range(2):
            order = np.random.default_rng([3, draw]).permutation(7)
            rows = [data.by_user[user][index] for index in order]
            for target in rows[:2]:
                for shots in range(3):
                    read = rows[2 : 2 + shots]
                    turned = [Preference(p.prompt, p.rejected, p.chosen) for p in read]
                    shown = margin(read, target) - margin(turned, target)
                    hits[str(shots)].append(float(margin([], target) + shown / 2 > 0))
    by_shots = results["predictions"]["FSPO, mirrored"]["by_shots"]
    assert by_shots == {shots: round(float(np.mean(own)), 4) for shots, own in hits.items()}
    assert by_shots["0"] == results["predictions"]["FSPO"]["by_shots"]["0"]


def test_stacks_are_of_what_the_results_hold_and_need_baselines(place: Path) -> None:
    recipe = RECIPE.model_copy(
        update={"mirrored": True, "judge": "none", "predict": "policies", "stacked": True}
    )
    results = evaluate(place / "data", [place / "policy"], place / "stacked", recipe, seed=3)
    names = ["majority", "longer", "baselines, stacked", "baselines and FSPO, mirrored, stacked"]
    assert list(results["predictions"]) == ["FSPO", "FSPO, mirrored", *names]
    # On new prompts the majority says nothing, and both texts are of one length.
    assert results["predictions"][names[2]]["by_shots"] == {"0": 0.5, "1": 0.5, "2": 0.5}
    recipe = recipe.model_copy(update={"baselines": []})
    with pytest.raises(FspoError, match="--stacked: there are no baselines to stack"):
        evaluate(place / "data", [place / "policy"], place / "stacked", recipe, seed=3)


def test_the_same_seed_gives_the_same_results_and_an_interrupted_run_goes_on(place: Path) -> None:
    first = evaluate(place / "data", [place / "policy"], place / "again", RECIPE, seed=1)
    for said in ("answers", "predictions"):
        files = sorted((place / "again" / said).rglob("*.json"))
        assert len(files) > 2
        for path in files[1::2]:
            path.unlink()  # as if it had been interrupted before these
    second = evaluate(place / "data", [place / "policy"], place / "again", RECIPE, seed=1)
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_what_a_policy_said_is_not_taken_for_what_another_one_says(place: Path) -> None:
    """The same name and the same folder for results, after training again and asking otherwise."""
    shutil.copytree(place / "policy", place / "moving")
    first = evaluate(place / "data", [place / "moving"], place / "stale", RECIPE, seed=1)
    adapter = place / "moving" / "adapter_model.safetensors"
    weights = {name: 3 * weight for name, weight in load_file(adapter).items()}
    save_file(weights, adapter, metadata={"format": "pt"})
    found = evaluate(place / "data", [place / "moving"], place / "stale", RECIPE, seed=1)
    fresh = evaluate(place / "data", [place / "moving"], place / "fresh", RECIPE, seed=1)
    assert found | {"seconds": 0} == fresh | {"seconds": 0}
    assert found["predictions"] != first["predictions"]
    base = place / "stale" / "answers" / "base"
    before = len([*base.iterdir()])  # one set: base is the same whatever the policy
    shorter = RECIPE.model_copy(update={"max_new_tokens": 3, "predict": "none"})
    evaluate(place / "data", [place / "moving"], place / "stale", shorter, seed=1)
    assert len([*base.iterdir()]) == 2 * before


@pytest.mark.parametrize("name", ["../../out", "/tmp/x", "a/b", "..", "", "é: *?"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    kept = AnswerCache(tmp_path / "answers", name, "")
    assert kept.get("q", lambda: ["said"]) == ["said"]
    assert kept.get("q", lambda: ["not asked again"]) == ["said"]
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent.parent == tmp_path / "answers"


def test_outcomes() -> None:
    judge = MeasuredJudge("reviews", load_domain("reviews").utility, dict)
    critic = User("u", attributes={"sentiment": -1.0, "verbosity": 0.0})
    pairs = [
        ("This is awful.", "This is wonderful."),
        ("This is wonderful.", "This is awful."),
        ("A film.", "A book."),
    ]
    verdicts = judge.judge([Comparison(critic, "", *pair) for pair in pairs])
    assert [verdict.probability for verdict in verdicts] == [1.0, 0.0, 0.5]


def test_ranking_by_a_user(place: Path) -> None:
    policy, data = load_policy(place / "policy"), load_preferences(place / "data")
    answers = ["I love it.", "I hate it.", "It is."]
    method = InContext("FSPO", policy, RECIPE.sampling)
    ranked = rank(method, data, "new?", answers, "u5", 3)
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    assert sum(row["probability"] for row in ranked) == pytest.approx(1, abs=1e-3)
    rewards = policy.rewards("u5", data.by_user["u5"][-3:], "new?", answers)
    assert {row["answer"]: row["reward"] for row in ranked} == {
        answer: round(reward, 4) for answer, reward in zip(answers, rewards, strict=True)
    }
    with pytest.raises(FspoError, match="say which with --user"):
        rank(method, data, "new?", answers)
    with pytest.raises(FspoError, match="no user 'zoe'"):
        rank(method, data, "new?", answers, "zoe")
    for asked, given, named in (
        ("Caf\udce9", answers, "--prompt: holds bytes that are not UTF-8"),
        ("new?", [*answers, "Caf\udce9"], "--answer: candidate 4 holds bytes that are not UTF-8"),
    ):
        with pytest.raises(FspoError, match=named):
            rank(method, data, asked, given, "u5")
    with pytest.raises(FspoError, match="at least two"):
        rank(method, data, "new?", answers[:1], "u5")


def test_faults_are_named(place: Path) -> None:
    def run(**settings: object) -> None:
        changed = RECIPE.model_copy(update=settings)
        evaluate(place / "data", [place / "policy"], place / "f", changed)

    with pytest.raises(FspoError, match="Ask for fewer shots"):
        run(shots=30)
    with pytest.raises(FspoError, match="no user is in split 'dev'"):
        run(split="dev")
    with pytest.raises(FspoError, match="no domain 'revews'; did you mean 'reviews'"):
        run(judge="revews")
    with pytest.raises(FspoError, match="there is no 'majorty'"):
        run(baselines=["majorty"])
    with pytest.raises(FspoError, match="of no user is it known what they want"):
        run(judge="elix")
    with pytest.raises(FspoError, match="no user has 'knd' among 'kind 0'"):
        run(where={"knd": ["kind 0"]})
    assert not (place / "f").exists()  # all of that before any model was asked
    for name in ("base", "oracle", "majority", "FSPO, mirrored", "FSPO, best of 4"):
        with pytest.raises(FspoError, match=f"a policy cannot be called '{name}'"):
            evaluate(place / "data", [f"{name}={place / 'policy'}"], place / "f", RECIPE)
    with pytest.raises(FspoError, match=r"fspo\.json: not found"):
        evaluate(place / "data", [place / "data"], place / "f", RECIPE)


def test_any_dataset_with_users_and_prompts_held_out(place: Path) -> None:
    """Real people's data has no splits, no descriptions, and no measure that knows the users."""
    by_user = {
        f"p{n}": [Preference(f"q{k}", f"yes {k} {n % 2}", f"no {k} {n % 2}") for k in range(8)]
        for n in range(10)
    }
    by_user["p0"].append(Preference("q0", "a tie", "a tie"))
    save_preferences(Preferences(by_user), place / "people", "")
    recipe = TrainRecipe(
        data=str(place / "people"), out=str(place / "held-out"), model=str(place / "model"),
        shots=3, episodes=4, lora=Lora(rank=2), holdout_users=0.4, holdout_prompts=0.25,
        drop_ties=True,
    )  # fmt: skip
    train(recipe)
    settings = EvaluateRecipe(shots=3, episodes_per_user=1)
    results = evaluate(place / "people", [place / "held-out"], place / "out3", settings)
    assert results["judge"] == "none"
    assert results["methods"] == {}
    assert results["users"] == {"train": 6, "test": 4}
    assert results["prompts"] == {"train": 6, "test": 2}
    assert results["new"] == "users"
    names = ["base", "few-shot prompted", "FSPO", "majority", "longer"]
    assert list(results["predictions"]) == names
    assert set(results["predictions"]["base"]["by_shots"].values()) == {0.5}
    assert not (place / "out3" / "answers").exists()
    assert "nothing was judged" in report(place / "out3").read_text()
    more = settings.model_copy(update={"holdout_users": 0.6})
    with pytest.raises(FspoError, match=r"FSPO: it has learned from 2 of the 6 users"):
        evaluate(place / "people", [place / "held-out"], place / "out4", more)


def test_policies_are_named(place: Path) -> None:
    policy = str(place / "policy")
    recipe = RECIPE.model_copy(update={"predict": "policies"})
    results = evaluate(place / "data", [f"one={policy}", f"two={policy}"], place / "o5", recipe)
    assert list(results["methods"]) == ["base", "few-shot prompted", "one", "two", "oracle"]
    assert list(results["predictions"]) == ["one", "two"]
    trained = json.loads((place / "policy" / "fspo.json").read_text())
    assert results["policies"] == {"one": trained, "two": trained}
    assert results["predictions"]["one"] == results["predictions"]["two"]
    # The same policy, but its answers are sampled anew under each name.
    assert set(results["differences"]) == {"base", "few-shot prompted", "two", "oracle"}
    with pytest.raises(FspoError, match=r"two are called 'FSPO \(policy\)'"):
        evaluate(place / "data", [f"FSPO={policy}", f"FSPO={policy}"], place / "o6", RECIPE)


def test_further_methods_and_the_audit(place: Path) -> None:
    """The audit's keywords and figures have tests of their own; here it runs on real methods."""
    policy = place / "policy"
    changed = {"methods": ["LoRA per user", "best of 2"], "users": 2, "prompts_per_user": 1}
    settings = RECIPE.model_copy(update=changed)
    results = evaluate(place / "data", [policy], place / "o7", settings)
    further = ["LoRA per user", "FSPO", "FSPO, best of 2", "oracle"]
    assert list(results["methods"]) == [*METHODS[:2], *further]
    with pytest.raises(FspoError, match="there is no method 'best of none'"):
        evaluate(place / "data", [policy], place / "o8",
                 RECIPE.model_copy(update={"methods": ["best of none"]}))  # fmt: skip
    found = run_audit(place / "data", [policy], place / "audit", RECIPE)
    assert json.loads((place / "audit" / "audit.json").read_text()) == found
    assert list(found["methods"]) == ["few-shot prompted", "FSPO", "oracle"]
    assert found["methods"]["FSPO"]["words"]["n"] == 4 * len(prompts())
    assert "plain facts right" in render(found)
    with pytest.raises(FspoError, match="only a model can read answers"):
        run_audit(place / "data", [policy], place / "audit", RECIPE, judge="reviews")


def test_a_policy_without_users_reads_no_shots(place: Path) -> None:
    recipe = TrainRecipe(
        data=str(place / "data"), out=str(place / "blind"), model=str(place / "model"),
        shots=0, episodes=6, learning_rate=1e-2, lora=Lora(rank=4), objective="dpo",
    )  # fmt: skip
    train(recipe)
    results = evaluate(place / "data", [place / "blind"], place / "o9", RECIPE)
    accuracy = results["predictions"]["DPO without users"]["by_shots"]
    assert len(set(accuracy.values())) == 1
    policy, data = load_policy(place / "blind"), load_preferences(place / "data")
    method = InContext("blind", policy, RECIPE.sampling)
    shots, targets = data.by_user["u5"][:3], data.by_user["u5"][3:5]
    odds = method.log_odds(data.users["u5"], shots, targets, [0, 3])
    expected = [policy.rewards("u5", [], t.prompt, [t.chosen, t.rejected]) for t in targets]
    asked = (targets[0].prompt, [targets[0].chosen, targets[0].rejected])
    assert method.score(data.users["u5"], shots, *asked) == pytest.approx(expected[0], abs=1e-5)
    np.testing.assert_allclose(odds, [[a - b for a, b in expected]] * 2, atol=1e-5)
    task = Task(data.users["u5"], shots, ["new?"])
    assert method.answer([task], 0) == method.answer([replace(task, shots=())], 0)


def few_prompts(place: Path, name: str, prompts: int) -> Path:
    """Users of whom the first does not say what they want, asked about so many prompts."""
    by_user = {
        f"u{n}": [Preference(f"q{k % prompts}", f"Good {k}.", f"Bad {k}.") for k in range(6)]
        for n in range(4)
    }
    taste = {"sentiment": 1.0, "verbosity": 0.0}
    users = [User(f"u{n}", "Likes it.", taste if n else {"sentiment": "much"}) for n in range(4)]
    save_preferences(Preferences(by_user, users), place / name, "")
    return place / name


def test_a_user_who_cannot_be_judged_costs_no_results(place: Path) -> None:
    data = few_prompts(place, "one-unknown", 6)
    recipe = RECIPE.model_copy(update={"judge": "reviews", "predict": "none"})
    results = evaluate(data, [place / "policy"], place / "unknown", recipe)
    assert results["methods"]["FSPO"]["malformed"] == 3  # of twelve
    assert set(results["example"]["prompts"][0]["answers"]["FSPO"]) == {"text", "words"}
    assert results["judging"] == {"requests": 0, "input_tokens": 0, "output_tokens": 0, "cost": 0.0}


def test_users_whose_shots_take_all_prompts_have_none_to_answer(place: Path) -> None:
    data = few_prompts(place, "one-prompt", 1)
    recipe = RECIPE.model_copy(update={"judge": "reviews"})
    with pytest.raises(FspoError, match="0 of 4 users have a prompt to answer"):
        evaluate(data, [place / "policy"], place / "none-left", recipe)
    assert not (place / "none-left" / "answers").exists()
    alone = recipe.model_copy(update={"judge": "none"})
    results = evaluate(data, [place / "policy"], place / "none-left", alone)
    assert results["predictions"]["FSPO"]["n"] == 4 * 2 * 2


def test_kept_answers_depend_on_all_that_lies_in_the_folders(place: Path, tmp_path: Path) -> None:
    """Each file in turn, in place: what depends on it has another name, and only that."""
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(place / "model", work / "base")
    shutil.copytree(place / "policy", work / "policy")
    shutil.copytree(place / "policy", work / "policy" / "reference")
    settings = json.loads((work / "policy" / "fspo.json").read_text())
    settings["model"] = str(work / "base")
    (work / "policy" / "fspo.json").write_text(json.dumps(settings))
    names = ("base", "oracle", "LoRA per user", "FSPO", "FSPO, best of 2")

    def told() -> dict[str, object]:
        depends = dependencies(trained([work / "policy"]), RECIPE)
        return {name: depends(name) for name in names}

    before = told()
    shutil.copytree(work, tmp_path / "copy")
    for path, key, changes in (
        ("base/config.json", "rms_norm_eps", names),
        ("base/tokenizer_config.json", "model_max_length", names),
        ("base/chat_template.jinja", "", names),
        ("base/model.safetensors", "", names),
        ("policy/adapter_config.json", "lora_alpha", names[3:]),
        ("policy/adapter_model.safetensors", "", names[3:]),
        ("policy/fspo.json", "shots", names[3:]),
        ("policy/reference/adapter_model.safetensors", "", names[3:]),
    ):
        file = work / path
        was = file.read_bytes() if file.is_file() else b""
        if key:
            file.write_text(json.dumps(json.loads(was) | {key: 1}))
        else:
            file.write_bytes(was[:-1] + b"\1")
        now = told()
        assert [name for name in names if now[name] != before[name]] == list(changes), path
        file.write_bytes(was) if was else file.unlink()
    assert told() == before
    shutil.rmtree(work)
    (tmp_path / "copy").rename(work)  # the same in other files
    assert told() == before


@pytest.mark.parametrize("what", ["weights", "template"])
def test_another_base_model_in_the_same_place_is_asked_anew(
    place: Path, tmp_path: Path, what: str
) -> None:
    base, policy = tmp_path / "model", tmp_path / "policy"
    shutil.copytree(place / "model", base)
    shutil.copytree(place / "policy", policy)
    settings = json.loads((policy / "fspo.json").read_text())
    (policy / "fspo.json").write_text(json.dumps(settings | {"model": str(base)}))
    recipe = RECIPE.model_copy(update={"users": 2, "prompts_per_user": 1, "episodes_per_user": 1})
    first = evaluate(place / "data", [policy], tmp_path / "out", recipe)
    if what == "weights":
        small_model(seed=1).save_pretrained(base)
    else:
        (base / "chat_template.jinja").write_text("{{ messages[-1]['content'] }} Well:")
    again = evaluate(place / "data", [policy], tmp_path / "out", recipe)
    fresh = evaluate(place / "data", [policy], tmp_path / "fresh", recipe)
    assert again | {"seconds": 0} == fresh | {"seconds": 0}
    assert again["example"] != first["example"]


@pytest.mark.parametrize("copy", ["file", "elsewhere"])
def test_a_copy_of_the_data_gives_the_same_results_as_the_data(
    place: Path, tmp_path: Path, copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copy == "file":
        rows = [
            {"user_id": u, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}
            for u, p in load_preferences(place / "data").of("train")
        ]
        text = "".join(json.dumps(row) + "\n" for row in reversed(rows))
        (tmp_path / "copy.jsonl").write_text(text)
        recipe = RECIPE.model_copy(update={"judge": "none"})
        found = evaluate(tmp_path / "copy.jsonl", [place / "policy"], tmp_path / "out", recipe)
        assert found["new"] == "neither"
        more = recipe.model_copy(update={"holdout_users": 0.5})
        with pytest.raises(FspoError, match="FSPO: it has learned from 2 of the 2 users"):
            evaluate(tmp_path / "copy.jsonl", [place / "policy"], tmp_path / "out", more)
        return
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "data", "moved")
    recipe = RECIPE.model_copy(update={"holdout_users": 0.5})
    for data in (str(place / "data"), "moved"):
        with pytest.raises(FspoError, match=r"FSPO: it has learned from \d of the 4 users"):
            evaluate(data, [place / "policy"], tmp_path / "out", recipe)


@pytest.mark.parametrize("name", ["lr=0.001", "a=b=c", "=", "x="])
def test_a_folder_may_be_called_as_one_likes(
    place: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "policy", name)
    [found] = trained([name])
    assert (found.name, found.folder) == ("FSPO", Path(name))
    [found] = trained([f"lr=1={name}"])
    assert (found.name, found.folder) == ("lr=1", Path(name))
    [found] = trained([f"mine={tmp_path / name}"])
    assert (found.name, found.folder) == ("mine", tmp_path / name)
    with pytest.raises(FspoError, match=r"nowhere=here/fspo.json: not found"):
        trained(["mine=nowhere=here"])
