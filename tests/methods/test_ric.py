"""RiC: scales against counting, what is trained against a naive recomputation, and the log-odds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User
from fspo.learning.episodes import training_preferences
from fspo.learning.policy import load_policy
from fspo.llm.sampling import Sampling
from fspo.methods.build import methods, trained
from fspo.methods.method import Task
from fspo.methods.ric.method import RewardsInContext, context
from fspo.methods.ric.scales import Scale, Scales
from fspo.methods.ric.train import AnswerDataset
from fspo.methods.table import train
from fspo.preferences.reading import load_preferences
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

SETTINGS = Sampling(max_tokens=6)
WORDY = Scales({"words": Scale(list(range(1, 11)), 5.0)})  # a word is a level


def words(count: int) -> str:
    return " ".join(["a"] * count)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and users who like long or short answers, in random order."""
    folder = tmp_path_factory.mktemp("ric")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user = {
        f"u{n}": [Preference(f"q{i}", *("ab" * 6, "no")[:: 1 if n % 2 else -1]) for i in range(4)]
        for n in range(4)
    }
    save_preferences(Preferences(by_user, map(User, by_user)), folder / "data", "")
    return folder


def recipe(place: Path, out: str, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "method": "ric",
        "data": str(place / "data"),
        "out": str(place / out),
        "model": str(place / "model"),
        "episodes": 8,
        "log_every": 1,
        "learning_rate": 5e-3,
        "warmup_steps": 0,
        "lora": Lora(rank=4, alpha=8),
    }
    return TrainRecipe.model_validate(defaults | settings)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(0, 60))
def test_a_level_says_which_eleventh_of_the_training_answers_it_is_in(
    counts: list[int], new: int
) -> None:
    scales = Scales.fit([words(count) for count in counts], ["words"])
    (level,) = scales.levels(words(new))
    reached = [k for k in range(1, 11) if new >= np.quantile(counts, k / 11)]
    assert level == len(reached)
    (mean,) = [scale.mean for scale in scales.by_measure.values()]
    assert mean == pytest.approx(np.mean([scales.levels(words(count))[0] for count in counts]))


def test_every_number_stands_for_as_many_answers() -> None:
    scales = Scales.fit([words(count) for count in range(1, 111)], ["words"])
    levels = [scales.levels(words(count))[0] for count in range(1, 111)]
    assert [levels.count(level) for level in range(11)] == [10] * 11


def test_what_a_user_is_taken_to_want() -> None:
    """By hand: the mean is 5; chosen less rejected is 4 - 1 = 3 and 6 - 5 = 1, 2 on average."""
    shots = [Preference("q", words(4), words(1)), Preference("r", words(6), words(5))]
    assert WORDY.desired([]) == (5,)
    assert WORDY.desired(shots[:1]) == (8,)
    assert WORDY.desired(shots) == (7,)
    assert WORDY.desired([Preference("q", words(0), words(9))]) == (0,)  # -4, off the scale


def test_scales_are_read_as_they_were_written(tmp_path: Path) -> None:
    texts = ["I love it.", "I hate all of it so much.", "It is."]
    scales = Scales.fit(texts, ["sentiment", "words"])
    scales.save(tmp_path / "scales.json")
    again = Scales.load(tmp_path / "scales.json")
    assert again.by_measure == scales.by_measure
    assert list(again.by_measure) == ["sentiment", "words"]
    (tmp_path / "scales.json").write_text('{"words": 3}')
    with pytest.raises(FspoError, match=r"scales\.json: these are not the scales"):
        Scales.load(tmp_path / "scales.json")


def test_the_levels_stand_in_the_context_and_a_prompt_cannot_write_them() -> None:
    tokenizer = byte_tokenizer()
    text = tokenizer.decode(context("why?\n## Scores\nwords: 0", WORDY, (7,), tokenizer))
    assert (
        text == "## Scores\nwords: 7\n\n## Question\nwhy?\n\\## Scores\nwords: 0\n\n## Response\n"
    )


def test_every_answer_is_trained_once_a_turn_behind_its_own_levels(place: Path) -> None:
    """Chosen and rejected alike, and an answer in several rows once."""
    by_user = {
        "u": [Preference("q", words(3), words(9)), Preference("r", words(2), words(5))],
        "v": [Preference("q", words(9), words(3))],
    }
    tokenizer = byte_tokenizer()
    settings = recipe(place, "unused", measures=["words"], episodes=8)
    dataset = AnswerDataset(Preferences(by_user), tokenizer, settings)
    trees = [dataset[index] for index in range(8)]
    for turn in (trees[:4], trees[4:]):
        read = {tokenizer.decode(t.tokens[: t.responses[0].start]) for t in turn}
        own = {tokenizer.decode(t.responses[0].tokens[:-1]) for t in turn}
        assert len(read) == len(own) == 4
    for tree in trees:
        own = tokenizer.decode(tree.responses[0].tokens[:-1])
        (level,) = dataset.scales.levels(own)
        before = tokenizer.decode(tree.tokens[: tree.responses[0].start])
        assert before.startswith(f"## Scores\nwords: {level}\n\n## Question\n")
        other = tokenizer.decode(tree.responses[1].tokens[:-1])
        assert {own, other} in [{words(3), words(9)}, {words(2), words(5)}]


def test_the_first_loss_is_that_of_supervised_fine_tuning(place: Path) -> None:
    settings = recipe(place, "first", batch_size=1, measures=["words"])
    log = json.loads((train(settings) / "training_log.json").read_text())
    preferences = training_preferences(load_preferences(settings.data), "train")
    tree = AnswerDataset(preferences, byte_tokenizer(), settings)[0]
    start, answer = tree.responses[0].start, tree.responses[0].tokens
    tokens = torch.tensor([[*tree.tokens[:start].tolist(), *answer]])
    with torch.no_grad():
        logps = small_model()(tokens).logits[0].log_softmax(-1)
    expected = -sum(logps[start + k - 1, token].item() for k, token in enumerate(answer))
    assert log[0]["loss"] == pytest.approx(expected, rel=1e-3)
    assert not any(key.endswith("_shots") and key.startswith("accuracy") for key in log[0])


def test_it_learns_what_the_levels_mean_and_is_evaluated(place: Path) -> None:
    settings = recipe(
        place, "learns", episodes=400, batch_size=8, micro_batch_size=8, measures=["sentiment"],
        learning_rate=1e-2, lora=Lora(rank=8, alpha=16),
    )  # fmt: skip
    by_user = {"u": [Preference(f"q{i}", "I love it.", "I hate it.") for i in range(4)]}
    save_preferences(Preferences(by_user), place / "liked", "")
    out = train(settings.model_copy(update={"data": str(place / "liked")}))
    late = json.loads((out / "training_log.json").read_text())[-5:]
    assert sum(line["accuracy"] for line in late) / 5 > 0.9
    (found,) = methods(trained([out]), [], SETTINGS)
    assert found.name == "RiC"
    liked = [Preference("q0", "I love it.", "I hate it."), Preference("q1", "I love it.", "bad.")]
    odds = found.log_odds(
        User("new"), liked, [Preference("q2", "I love it.", "I hate it.")], [0, 2]
    )
    assert odds[0, 0] == 0
    assert odds[1, 0] > 1
    task = Task(User("new"), liked, ["q2", "q3"])
    assert found.answer([task], 1) == found.answer([task], 1)
    assert [len(own) for own in found.answer([task, task], 1)] == [2, 2]


def test_log_odds_equal_reading_each_text_anew(place: Path) -> None:
    policy = load_policy(train(recipe(place, "odds", measures=["words"])))
    method = RewardsInContext("RiC", policy, WORDY, SETTINGS)
    shots = [Preference("s", words(8), words(3)), Preference("t", words(2), words(3))]
    targets = [Preference("q", "yes\n# so", "no"), Preference("r?", "hm", words(4))]
    found = method.log_odds(User("u"), shots, targets, [0, 1, 2])

    def logp(level: int, prompt: str, written: str) -> float:
        before = context(prompt, WORDY, (level,), policy.tokenizer)
        answer = [*policy.tokenizer(written, add_special_tokens=False)["input_ids"], 0]
        with torch.no_grad():
            logits = policy.model(torch.tensor([[*before, *answer]])).logits[0]
        rows = logits[len(before) - 1 : -1].log_softmax(-1)
        return rows[range(len(answer)), answer].sum().item()

    pairs = [("q", "yes\n\\# so", "no"), ("r?", "hm", words(4))]
    for row, level in enumerate([5, 10, 7]):  # 5; 5 + 5; 5 + (5 - 1) / 2
        expected = [
            logp(level, x, c) - logp(5, x, c) - logp(level, x, r) + logp(5, x, r)
            for x, c, r in pairs
        ]
        np.testing.assert_allclose(found[row], expected, atol=1e-4)


def test_faults_are_named(place: Path) -> None:
    with pytest.raises(FspoError, match=r"no 'word'; did you mean 'words'"):
        train(recipe(place, "f1", measures=["word"]))
    with pytest.raises(FspoError, match="objective: method ric is supervised"):
        train(recipe(place, "f2", objective="ipo"))
    with pytest.raises(FspoError, match="the context holds 20"):
        train(recipe(place, "f3", max_length=20))
