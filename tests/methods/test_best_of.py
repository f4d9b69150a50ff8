"""Best of n: which answer is picked, by a hand-made writer, and by a policy's own rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from conftest import byte_tokenizer, small_model

from fspo import FspoError, Preference, Preferences, User
from fspo.evaluation.answer_cache import AnswerCache
from fspo.evaluation.answers import answer_tasks
from fspo.evaluation.ranking import rank
from fspo.learning.policy import load_policy
from fspo.learning.train import train
from fspo.llm.sampling import Sampling
from fspo.methods.build import methods, trained
from fspo.methods.fspo.method import InContext
from fspo.methods.method import Floats, Predictor, Task
from fspo.methods.untrained.best_of import BestOf, all_finite, draw_seed, log_odds_over_first
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

SETTINGS = Sampling(max_tokens=6, temperature=1, top_p=1)


class Rambler:
    """Writes as many words as its seed says; prefers as many words as the user has shots."""

    name = "rambler"
    tasks_at_once = 10_000

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        return [["w " * (1 + (seed + len(p)) % 7) for p in task.prompts] for task in tasks]

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        def far(text: str, count: int) -> int:
            return abs(len(text.split()) - count)

        return np.array(
            [[far(t.rejected, k) - far(t.chosen, k) for t in targets] for k in counts], float
        )


def tasks() -> list[Task]:
    shots = [Preference(f"s{k}", "a", "b") for k in range(5)]
    return [Task(User(f"u{k}"), shots[:k], ["p", "pp", "ppp"]) for k in (0, 2, 5)]


def test_it_picks_what_the_user_would_like_best() -> None:
    writer = Rambler()
    picked = BestOf(writer, 6).answer(tasks(), 4)
    draws = [writer.answer(tasks(), draw_seed(4, draw)) for draw in range(6)]
    for number, task in enumerate(tasks()):
        for place in range(3):
            lengths = [len(draw[number][place].split()) for draw in draws]
            nearest = min(abs(length - len(task.shots)) for length in lengths)
            assert abs(len(picked[number][place].split()) - len(task.shots)) == nearest


def test_any_score_can_pick_and_the_first_of_equals_is_taken() -> None:
    writer = Rambler()
    longest = BestOf(writer, 8, score=lambda user, shots, prompt, answers: list(map(len, answers)))
    draws = [writer.answer(tasks(), draw_seed(1, draw)) for draw in range(8)]
    for number, own in enumerate(longest.answer(tasks(), 1)):
        assert own == [max((d[number][k] for d in draws), key=len) for k in range(3)]
    equal = BestOf(writer, 8, score=lambda user, shots, prompt, answers: [0.0] * len(answers))
    assert equal.answer(tasks(), 1) == draws[0]
    assert BestOf(writer, 1).answer(tasks(), 1) == draws[0]
    assert len({draw_seed(seed, draw) for seed in range(9) for draw in range(9)}) == 81


def test_predictions_are_the_predictors() -> None:
    method = BestOf(Rambler(), 3)
    target = [Preference("q", "one", "one two three")]
    assert method.log_odds(User("u"), [], target, [0, 2]).tolist() == [[2], [0]]
    assert (method.name, method.tasks_at_once) == ("rambler, best of 3", 8)
    with pytest.raises(FspoError, match="best of 0"):
        BestOf(Rambler(), 0)


def test_it_resumes_to_the_same_answers(tmp_path: Path) -> None:
    many = [Task(User(f"u{k}"), [], ["p", "pp"]) for k in range(20)]
    method = BestOf(Rambler(), 4)
    kept = AnswerCache(tmp_path, method.name, "")
    first = answer_tasks(method, many, kept, 3)
    written = sorted((tmp_path / "rambler-best-of-4").iterdir())
    assert len(written) == 3
    written[1].unlink()
    assert answer_tasks(method, many, kept, 3) == first


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("best-of")
    small_model().save_pretrained(place / "model")
    byte_tokenizer().save_pretrained(place / "model")
    by_user = {f"u{n}": [Preference(f"q{k}", "yes", "no") for k in range(4)] for n in range(2)}
    save_preferences(Preferences(by_user), place / "data", "")
    settings = TrainRecipe(
        data=str(place / "data"), out=str(place / "policy"), model=str(place / "model"),
        shots=2, episodes=6, learning_rate=1e-2, lora=Lora(rank=4), warmup_steps=0,
    )  # fmt: skip
    return train(settings)


def test_a_policy_picks_by_its_implicit_reward(folder: Path) -> None:
    *_, method = methods(trained([folder]), ["best of 4"], SETTINGS)
    assert method.name == "FSPO, best of 4"
    shots = [Preference("s", "yes", "no")]
    task = Task(User("new"), shots, ["q0", "q1"])
    (picked,) = method.answer([task], 5)
    policy = load_policy(folder)
    writer = InContext("FSPO", policy, SETTINGS)
    draws = [writer.answer([task], draw_seed(5, draw))[0] for draw in range(4)]
    for place, prompt in enumerate(task.prompts):
        candidates = [own[place] for own in draws]
        rewards = policy.rewards("new", shots, prompt, candidates)
        assert picked[place] == candidates[int(np.argmax(rewards))]
    # The log-odds over the first answer are the same rewards, less that of the first.
    by_odds = BestOf(writer, 4, score=log_odds_over_first(writer)).answer([task], 5)
    assert by_odds == [picked]


def test_an_unknown_name_is_refused(folder: Path) -> None:
    with pytest.raises(FspoError, match="there is no method 'best'"):
        list(methods(trained([folder]), ["best"], SETTINGS))


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_reward_that_is_no_number_is_named_and_ranks_nothing(
    reward: float, mirrored: bool
) -> None:
    class Broken:
        name = "broken"

        def score(self, *_: object) -> list[float]:
            return [1.0, reward, 2.0]

    preferences = Preferences({"u": [Preference("q", "yes", "no")]})
    with pytest.raises(FspoError, match=rf"reward of answer 2 is {reward}: the policy is broken"):
        rank(cast(Predictor, Broken()), preferences, "q", ["a", "b", "c"], mirror=mirrored)
    assert all_finite([1.0, -2.0]) == [1.0, -2.0]
