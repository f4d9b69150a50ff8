"""Training on a small model: the loss against its definition, interruption, and resuming."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaMLP

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
from fspo.learning.checkpoints import last_checkpoint, seal
from fspo.learning.episodes import EpisodeDataset, learned_from, that_fit, training_preferences
from fspo.learning.policy import load_policy
from fspo.learning.scoring import response_logps
from fspo.learning.train import train, training_data
from fspo.llm.sampling import Sampling
from fspo.methods.fspo.method import InContext
from fspo.preferences.splitting import hold_out
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and users of which half like what the others do not."""
    folder = tmp_path_factory.mktemp("training")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user, users = {}, []
    for number in range(8):
        good, bad = ("yes", "no") if number % 2 else ("no", "yes")
        by_user[f"u{number}"] = [Preference(f"q{i}", good, bad) for i in range(6)]
        users.append(User(f"u{number}", split="train" if number < 6 else "test"))
    save_preferences(Preferences(by_user, users), folder / "data", "")
    return folder


def recipe(place: Path, out: str, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "data": str(place / "data"),
        "out": str(place / out),
        "model": str(place / "model"),
        "shots": 3,
        "episodes": 12,
        "log_every": 1,
        "save_every": 2,
        "learning_rate": 5e-3,
        "beta": 0.1,
        "lora": Lora(rank=4, alpha=8),
    }
    return TrainRecipe.model_validate(defaults | settings)


def log_of(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "training_log.json").read_text())


@pytest.mark.parametrize("objective", ["ipo", "dpo", "sft"])
@pytest.mark.parametrize("logps", ["sum", "mean"])
@pytest.mark.parametrize("nll", [0.0, 0.5])
def test_the_first_loss_is_the_definition(
    place: Path, objective: str, logps: str, nll: float
) -> None:
    """At the first step the policy is its reference: h is 0, and the losses are known."""
    out = f"first-{objective}-{logps}-{nll}"
    settings = recipe(place, out, objective=objective, logps=logps, nll=nll, episodes=2)
    first = log_of(train(settings))[0]
    preferences = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(preferences, byte_tokenizer(), settings)
    trees = [episodes[0], episodes[1]]
    chosen = torch.cat([c for c, _ in completion_logps(small_model(), trees)]).detach()
    per_token = chosen / torch.tensor([len(y) for t in trees for y in t.chosen])
    fine_tuning = -(per_token if logps == "mean" else chosen).mean().item()
    expected = {"ipo": (1 / 0.2) ** 2, "dpo": 0.6931472, "sft": fine_tuning}[objective]
    if objective != "sft":
        expected -= nll * per_token.mean().item()
    assert first["loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("logps", ["sum", "mean"])
def test_a_policy_is_used_by_the_measure_that_it_was_trained_by(place: Path, logps: str) -> None:
    """Responses of several lengths, and margins, rewards and log-odds by plain passes."""
    out = train(recipe(place, f"used-{logps}", logps=logps, episodes=8, learning_rate=2e-2))
    policy = load_policy(out)
    shots, target = [Preference("q0", "yes", "no")], Preference("q1", "yes, of course", "no")
    tree = EpisodeTree.from_episode(Episode("u", [*shots, target]), policy.tokenizer)
    with torch.no_grad():
        ((good, bad),) = completion_logps(policy.model, [tree])
        with policy.model.disable_adapter():
            ((good_before, bad_before),) = completion_logps(policy.model, [tree])
    lengths = [len(text) + 1 for text in ("yes, of course", "no")]  # bytes and an end token
    above = [float(good[-1] - good_before[-1]), float(bad[-1] - bad_before[-1])]
    expected = [a / n if logps == "mean" else a for a, n in zip(above, lengths, strict=True)]
    assert abs(expected[0] - expected[1]) > 1e-3
    (margins,) = policy.margins([tree])
    assert margins[-2:].tolist() == pytest.approx(expected, abs=1e-4)
    rewards = policy.rewards("u", shots, "q1", ["yes, of course", "no"])
    assert rewards == pytest.approx([policy.beta * value for value in expected], abs=1e-4)
    odds = InContext("FSPO", policy, Sampling()).log_odds(User("u"), shots, [target], [1])
    assert odds.item() == pytest.approx(policy.beta * (expected[0] - expected[1]), abs=1e-4)


def test_it_learns_from_shots_and_says_so(place: Path) -> None:
    out = train(recipe(place, "learns", episodes=80, batch_size=4, learning_rate=1e-2))
    log = log_of(out)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    # Without a shot nobody can know which half a user belongs to; with shots it is plain.
    late = log[-5:]
    assert sum(line["accuracy_3_shots"] for line in late) / 5 > 0.9
    assert sum(line["accuracy_0_shots"] for line in late) / 5 < 0.9
    assert log[-1]["tokens_per_second"] > 0
    assert not (out / "checkpoints").exists()


# Kills its own process so many seconds after the first checkpoint that it writes.
KILLED = """
import os, signal, sys, threading
from fspo.cli import main
from fspo.learning.trainer import FspoTrainer

delay, write = float(sys.argv.pop()), FspoTrainer._save_checkpoint

def write_and_die(*args, **kwargs):
    global delay
    write(*args, **kwargs)
    if delay:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    delay = 0

FspoTrainer._save_checkpoint = write_and_die
main()
"""


def test_a_run_that_is_killed_ten_times_ends_in_the_same_weights(place: Path) -> None:
    whole = train(recipe(place, "whole", episodes=120))
    settings = recipe(place, "killed", episodes=120, save_every=1)
    (place / "killed.yaml").write_text(settings.model_dump_json())
    command = [sys.executable, "-c", KILLED, "train", str(place / "killed.yaml"), "--resume"]
    # Somewhere in one of the next steps, or in the middle of writing a checkpoint.
    for delay in np.random.default_rng(0).uniform(0.001, 0.06, 10):
        done = subprocess.run([*command, str(delay)], stderr=subprocess.DEVNULL, timeout=300)
        assert done.returncode == -signal.SIGKILL
    assert not (place / "killed" / ADAPTER).exists()
    resumed = train(settings, resume=True)
    for name, weights in load_file(whole / ADAPTER).items():
        # Processes need not round alike on every CPU, which is worth 1e-6 here; a step that is
        # lost, or an optimizer that starts anew, is worth 1e-3.
        torch.testing.assert_close(load_file(resumed / ADAPTER)[name], weights, rtol=0, atol=1e-5)


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    for step, state in [(2, "{}"), (10, '{"global_st'), (9, None)]:
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    seal(tmp_path / "checkpoint-2", 1)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_full_fine_tuning_has_a_frozen_reference(place: Path) -> None:
    out = train(recipe(place, "full", lora=None, learning_rate=1e-3))
    policy = load_policy(out)
    tree = EpisodeTree.from_candidates("u", [], "q0", ["yes", "no"], policy.tokenizer)
    (moved,) = policy.margins([tree])
    assert moved.abs().max() > 1e-3


def test_pref_ft_then_ipo_takes_the_first_as_reference(place: Path) -> None:
    first = train(recipe(place, "warm", objective="sft"))
    second = train(recipe(place, "then", adapter=str(first)))
    assert log_of(second)[0]["margin"] == pytest.approx(0, abs=1e-4)
    policy = load_policy(second)
    tree = EpisodeTree.from_candidates("u", [], "q0", ["yes", "no"], policy.tokenizer)
    (margins,) = policy.margins([tree])
    before = load_policy(first)

    with torch.inference_mode():
        (new,) = response_logps(policy.model, [tree])
        (old,) = response_logps(before.model, [tree])
    torch.testing.assert_close(margins, new - old, atol=1e-4, rtol=0)


def test_a_policy_goes_on_with_the_bare_model_as_its_reference(place: Path) -> None:
    first = train(recipe(place, "begun", learning_rate=1e-2))
    second = train(recipe(place, "on", adapter=str(first), reference="model", learning_rate=1e-9))
    begun, went_on = load_policy(first), load_policy(second)
    tree = EpisodeTree.from_candidates("u", [], "q0", ["yes", "no"], begun.tokenizer)
    (margins,) = begun.margins([tree])
    assert margins.abs().max() > 1e-3
    torch.testing.assert_close(went_on.margins([tree])[0], margins, atol=1e-4, rtol=0)
    assert not (second / "reference").exists()


def test_another_run_in_the_same_folder_is_refused(place: Path) -> None:
    train(recipe(place, "twice"))
    with pytest.raises(FspoError, match="holds this run already; add --resume"):
        train(recipe(place, "twice"))
    with pytest.raises(FspoError, match=r"other settings \(beta: 0.1 there, 0.2 here\)"):
        train(recipe(place, "twice", beta=0.2), resume=True)


def test_a_run_of_an_older_version_goes_on(place: Path) -> None:
    out = train(recipe(place, "older"))
    known = json.loads((out / "recipe.json").read_text())
    del known["split"], known["lora"]["last_layers"]  # settings, of the run and in a section of it
    known["vpl"] = {"kl": 0.7}  # of another method
    (out / "recipe.json").write_text(json.dumps(known))
    assert train(recipe(place, "older"), resume=True) == out


def test_training_can_be_given_less(place: Path) -> None:
    less = training_data(recipe(place, "less", users=2, preferences_per_user=3))
    assert [len(rows) for rows in less.by_user.values()] == [3, 3]
    assert len(training_data(recipe(place, "less")).by_user) == 6


@pytest.mark.parametrize("lora", [Lora(rank=4, alpha=8, last_layers=1), None])
def test_activations_computed_again_give_the_same_weights(
    place: Path, lora: Lora | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[str]()
    plain = LlamaMLP.forward

    def counted(self: LlamaMLP, x: torch.Tensor) -> torch.Tensor:
        calls[out] += 1
        return plain(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    weights = {}
    for again in (False, True):
        out = f"again-{again}-{lora is None}"
        settings = {
            "lora": lora,
            "objective": "dpo",
            "trainer": {"activation_checkpointing": again},
        }
        folder = train(recipe(place, out, **settings))
        weights[again] = load_file(folder / (ADAPTER if lora else "model.safetensors"))
    kept, computed = calls.values()
    assert computed > kept
    for key, values in weights[False].items():
        torch.testing.assert_close(weights[True][key], values, atol=1e-6, rtol=1e-5)


def test_a_fault_does_not_claim_the_folder(place: Path) -> None:
    with pytest.raises(FspoError):
        train(recipe(place, "claimed", lora=Lora(targets=["nowhere"])))
    assert (train(recipe(place, "claimed", episodes=2)) / "fspo.json").is_file()


def test_every_linear_module_of_the_last_layers(place: Path) -> None:
    """What `all-linear` means in all layers, it means in the last one, too."""
    learning = {}
    for name, last in (("all", None), ("last", 1)):
        lora = Lora(rank=2, alpha=4, last_layers=last)
        weights = load_file(train(recipe(place, f"linear-{name}", lora=lora, episodes=2)) / ADAPTER)
        learning[name] = {key.split(".layers.")[1] for key in weights}
    last_layer = max(key.split(".")[0] for key in learning["all"])
    assert learning["last"] == {key for key in learning["all"] if key[0] == last_layer}
    assert len(learning["last"]) < len(learning["all"])


def test_faults_are_named(place: Path) -> None:
    with pytest.raises(FspoError, match="no user is in split 'dev'; there are test, train"):
        train(recipe(place, "f1", split="dev"))
    with pytest.raises(FspoError, match="cannot be loaded"):
        train(recipe(place, "f2", model=str(place / "data")))
    with pytest.raises(FspoError, match=r"lora\.targets"):
        train(recipe(place, "f3", lora=Lora(targets=["nowhere"])))
    with pytest.raises(FspoError, match="holds no LoRA adapter"):
        train(recipe(place, "f4", adapter=str(place / "data")))
    for setting in ({"eval_strategy": "steps"}, {"eval_strateg": "no"}, {"optim": "adam"}):
        with pytest.raises(FspoError, match="the recipe's training settings are not taken: "):
            train(recipe(place, "f4", trainer=setting))
    with pytest.raises(FspoError, match="no adapter is gone on with"):
        train(recipe(place, "f4", adapter="nowhere", lora=None))
    assert not (place / "f4" / "training_log.json").exists()
    first = train(recipe(place, "first", episodes=2))
    with pytest.raises(FspoError, match="trained with template: chain, and this run has template"):
        train(recipe(place, "f6", adapter=str(first), template="paper"))
    small_model("gpt_neox").save_pretrained(place / "other")
    byte_tokenizer().save_pretrained(place / "other")
    with pytest.raises(FspoError, match=r"trained with model: \S+model, and this run has model: "):
        train(recipe(place, "f7", adapter=str(first), model=str(place / "other")))
    (first / "fspo.json").unlink()  # an adapter that is none of ours
    with pytest.raises(FspoError, match="does not fit the model"):
        train(recipe(place, "f8", adapter=str(first), model=str(place / "other")))
    with pytest.raises(FspoError, match="out: not given"):
        train(recipe(place, "f5").model_copy(update={"out": ""}))


def test_a_loss_that_is_not_finite_stops_the_run(place: Path) -> None:
    with pytest.raises(FspoError, match=r"loss is (inf|nan) on preferences\.parquet row \d+, "):
        train(recipe(place, "wild", beta=1e-30))


@pytest.mark.parametrize(
    ("package", "settings"),
    [("wandb", {"trainer": {"report_to": "wandb"}}), ("bitsandbytes", {"optimizer": "adamw_8bit"})],
)
def test_a_package_that_a_setting_needs_is_named(
    place: Path, package: str, settings: dict[str, object]
) -> None:
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(FspoError, match=f"settings need a package: .*{package}"):
        train(recipe(place, f"needs-{package}", **settings))


def test_the_rows_of_a_tree_are_those_of_its_targets() -> None:
    rows = [Preference(f"q{k}", "yes", "no", row=f"row {k}") for k in range(4)]
    chain = EpisodeTree.from_episode(Episode("u", rows), byte_tokenizer())
    assert chain.rows == ["row 0", "row 1", "row 2", "row 3"]
    paper = EpisodeTree.from_episode(Episode("u", rows), byte_tokenizer(), "paper")
    assert paper.rows == ["row 3"]


def test_paired_episodes_are_of_neighbors_on_the_same_draw(place: Path) -> None:
    settings = recipe(place, "paired", paired=True)
    preferences = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(preferences, byte_tokenizer(), settings)
    couples = set(zip(episodes.users[0::2], episodes.users[1::2], strict=True))
    drawn = [episodes.episode(index) for index in range(2 * len(couples) * 2)]
    seen = [(a.user_id, b.user_id) for a, b in zip(drawn[0::2], drawn[1::2], strict=True)]
    assert set(seen[: len(couples)]) == set(seen[len(couples) :]) == couples
    for turn, (one, other) in enumerate(zip(drawn[0::2], drawn[1::2], strict=True)):
        for episode in (one, other):
            shots = len(episode.preferences) - 1
            assert episode == preferences.episode(
                episode.user_id, shots, seed=[settings.seed, turn]
            )


def test_the_last_of_an_odd_number_of_users_is_paired_with_itself(place: Path) -> None:
    settings = recipe(place, "odd", paired=True)
    everybody = training_preferences(load_preferences(settings.data), "train")
    three = dict(list(everybody.by_user.items())[:3])
    episodes = EpisodeDataset(Preferences(three), byte_tokenizer(), settings)
    counts = Counter(episodes.episode(index).user_id for index in range(8))
    assert sorted(counts.values()) == [2, 2, 4]
    assert counts[episodes.users[2]] == 4


def test_a_couple_is_who_stands_side_by_side_in_the_file_whatever_they_are_called(
    place: Path,
) -> None:
    settings = recipe(place, "named", paired=True)
    rows = [Preference(f"q{k}", "yes", "no") for k in range(4)]
    names = ["u9", "u10", "u2", "alone", "b", "a"]
    by_user = {name: rows[:1] if name == "alone" else rows for name in names}
    episodes = EpisodeDataset(Preferences(by_user), byte_tokenizer(), settings)
    drawn = [episodes.episode(index).user_id for index in range(4)]
    assert {tuple(drawn[:2]), tuple(drawn[2:])} == {("u9", "u10"), ("b", "a")}
    assert episodes.left_out == 2  # u2's neighbor has too few, so it has nobody beside it
    with pytest.raises(ValidationError, match="users held out part others"):
        recipe(place, "named", paired=True, holdout_users=0.2)
    with pytest.raises(ValidationError, match="micro_batch_size: 3 does not divide batch_size 4"):
        recipe(place, "named", batch_size=4, micro_batch_size=3)


def test_where_no_taste_is_found_couples_keep_to_their_own_pairs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the factors nothing is left to impute by; its share of couples would be popularity."""
    settings = recipe(place, "tasteless", opposed=1.0, imputed=1.0, shots=5)
    generator = np.random.default_rng(0)

    def chance() -> list[Preference]:
        pairs = ((f"a{k}", f"b{k}") if generator.random() < 0.6 else (f"b{k}", f"a{k}")
                 for k in range(12))  # fmt: skip
        return [Preference(f"q{k}", *pair) for k, pair in enumerate(pairs)]

    data = Preferences({f"u{n}": chance() for n in range(60)})
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    assert "show no taste beyond what most of them like" in capsys.readouterr().err
    own = EpisodeDataset(data, byte_tokenizer(), settings.model_copy(update={"imputed": 0.0}))
    for index in range(12):
        assert episodes.episode(index) == own.episode(index)
        assert not episodes.episode(index).likely


def test_what_no_context_holds_is_left_out_and_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = recipe(place, "long", max_length=200)
    short = [Preference(f"q{k}", "yes", "no", row=f"row {k}") for k in range(4)]
    long = Preference("q5", "yes", "n" * 200, row="row 9")
    data = Preferences({"a": [*short, long], "b": short, "c": [long]}, source="mine")
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    assert episodes.users == ["a", "b"]
    said = capsys.readouterr().err
    assert "that do not fit are left out: 2; the first is row 9: user 'a': prompt and" in said
    for index in range(12):
        assert long not in episodes.episode(index).preferences
        assert episodes[index].longest_path <= 200
    with pytest.raises(FspoError, match=r"row 9: user 'c': .* the context holds 200"):
        EpisodeDataset(Preferences({"c": [long]}), byte_tokenizer(), settings)


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(20, 400))
def test_only_what_does_not_fit_alone_is_left_out(words: str, limit: int) -> None:
    tokenizer = byte_tokenizer()
    preference = Preference(words, "yes", words or "no")
    try:
        EpisodeTree.from_episode(Episode("u", [preference]), tokenizer, max_length=limit)
    except FspoError:
        with pytest.raises(FspoError, match="the context holds"):
            that_fit(Preferences({"u": [preference]}), tokenizer, max_length=limit)
    else:
        data = Preferences({"u": [preference]})
        assert that_fit(data, tokenizer, max_length=limit) is data


@given(
    st.lists(st.sampled_from(["train", "test", ""]), min_size=6, max_size=20),
    st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_nobody_is_learned_from_who_is_set_apart(
    splits: list[str], users: float, prompts: float
) -> None:
    rows = [Preference(f"q{k}", "a", "b") for k in range(10)]
    people = [User(f"u{n}", split=split) for n, split in enumerate(splits)]
    data = Preferences({user.user_id: rows for user in people}, people)
    apart = {u.user_id for u in people if any(splits) and u.split != "train"}
    if not users and apart == set(data.by_user):
        with pytest.raises(FspoError, match="no user is in split 'train'"):
            learned_from(data, "train", users, prompts)
        return
    found = learned_from(data, "train", users, prompts)
    if users:  # anew, however they were split
        apart = set(hold_out(data, users, 0.0).test.by_user)
    assert set(found.by_user) == set(data.by_user) - apart
    asked = {p.prompt for _, p in found}
    assert len(asked) == (7 if prompts else 10)
    assert not asked & hold_out(data, users, prompts).unseen if prompts else True


def test_couples_who_chose_opposite_ways_take_turns(place: Path) -> None:
    settings = recipe(place, "opposed", opposed=0.5, episodes=40)
    data = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    tastes = {u: {(p.prompt, p.chosen) for p in own} for u, own in data.by_user.items()}
    mirrored = []
    for turn in range(20):
        one, other = episodes.episode(2 * turn), episodes.episode(2 * turn + 1)
        for said in (one, other):
            assert tastes[said.user_id].issuperset((p.prompt, p.chosen) for p in said.preferences)
        back = [p.reversed() for p in other.preferences]
        mirrored.append(list(one.preferences) == back)
    assert sum(mirrored) == 10
    assert sum(mirrored[:10]) in (7, 8)  # three quarters: from every turn to none, in a line
    assert EpisodeDataset(data, byte_tokenizer(), settings).episode(2) == episodes.episode(2)

    alike = Preferences({"a": data.by_user["u1"], "b": data.by_user["u3"]}, source="mine")
    with pytest.raises(FspoError, match="opposed: mine: no two users disagree over 4 pairs"):
        EpisodeDataset(alike, byte_tokenizer(), settings)


def test_a_share_of_the_episodes_holds_what_their_users_would_choose(place: Path) -> None:
    settings = recipe(place, "imputed", imputed=0.5, episodes=40, shots=3)
    data = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    own = EpisodeDataset(data, byte_tokenizer(), settings.model_copy(update={"imputed": 0.0}))
    imputed = [episodes.episode(index) != own.episode(index) for index in range(40)]
    assert imputed == [False, True] * 20
    for index in range(40):
        assert episodes.episode(index).user_id == own.episode(index).user_id

    strangers = Preferences({"a": data.by_user["u1"][:2], "b": data.by_user["u2"][2:4]})
    unsure = EpisodeDataset(strangers, byte_tokenizer(), settings)
    assert {len(unsure.episode(index).preferences) for index in range(4)} == {2}


def test_couples_go_on_with_what_either_would_choose(place: Path) -> None:
    settings = recipe(place, "both", opposed=1.0, imputed=1.0, episodes=20, shots=4)
    data = training_preferences(load_preferences(settings.data), "train")
    couples = EpisodeDataset(data, byte_tokenizer(), settings.model_copy(update={"imputed": 0.0}))
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    for index in range(20):
        episode, shots = episodes.episode(index), couples.episode(index).preferences[:4]
        assert episode.user_id == couples.episode(index).user_id
        assert episode.preferences[:4] == shots
        assert len(episode.preferences) == len(episode.likely) == 5
    one, other = episodes.episode(0), episodes.episode(1)
    assert {one.preferences[4].chosen, one.preferences[4].rejected} == {
        other.preferences[4].chosen,
        other.preferences[4].rejected,
    }


def test_imputed_turns_are_shared_with_an_opposite(place: Path) -> None:
    settings = recipe(place, "mirrored", paired=True, imputed=1.0, episodes=20, shots=3)
    data = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(data, byte_tokenizer(), settings)
    as_one = []
    for turn in range(10):
        one, other = episodes.episode(2 * turn), episodes.episode(2 * turn + 1)
        assert one.user_id == other.user_id
        assert [{p.chosen, p.rejected} for p in one.preferences] == [
            {p.chosen, p.rejected} for p in other.preferences
        ]
        as_one += [p == q for p, q in zip(one.preferences, other.preferences, strict=True)]
    assert np.mean(as_one) < 0.5


@pytest.mark.parametrize("template", ["chain", "paper"])
def test_imputed_choices_are_learned_as_far_as_they_are_likely(place: Path, template: str) -> None:
    out = f"likely-{template}"
    settings = recipe(
        place, out, template=template, imputed=1.0, objective="sft", episodes=8, batch_size=8
    )
    [first] = log_of(train(settings))
    preferences = training_preferences(load_preferences(settings.data), "train")
    episodes = EpisodeDataset(preferences, byte_tokenizer(), settings)
    losses, right = [], []
    for index in range(8):
        [(chosen, rejected)] = completion_logps(small_model(), [episodes[index]])
        likely = torch.tensor(episodes.episode(index).likely)[-len(chosen) :]
        losses += (-likely * chosen - (1 - likely) * rejected).tolist()
        right += (((chosen > rejected) == (likely > 0.5)) & (likely != 0.5)).tolist()
    assert first["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert first["accuracy"] == pytest.approx(np.mean(right))
