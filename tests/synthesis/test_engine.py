"""The engine as a whole, with models that answer at once: what it writes and how it resumes."""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import log
from pathlib import Path

import numpy as np
import pytest
from small_domain import write_domain
from small_engine import Partial, Varied, run

from fspo.errors import FspoError
from fspo.llm.pretend import Pretend
from fspo.llm.requests import Reply, Request
from fspo.llm.store import CachedModel, Store
from fspo.preferences.reading import load_preferences


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_domain(tmp_path / "tiny")


def test_users_and_questions_of_two_splits_never_mix(folder, tmp_path):
    run(folder, tmp_path / "out", Pretend())
    data = load_preferences(tmp_path / "out")
    asked = {s: {p.prompt for _, p in data.of(s)} for s in ("train", "validation", "test")}
    told = {s: {u.description for u in data.of(s).users.values()} for s in asked}
    for one, other in combinations(asked, 2):
        assert asked[one]
        assert not asked[one] & asked[other]
        assert not told[one] & told[other]


def test_a_users_first_preferences_are_about_different_questions(folder, tmp_path):
    run(folder, tmp_path / "out", Pretend(), preferences_per_user=5)
    for own in load_preferences(tmp_path / "out").of("train").by_user.values():
        assert len({p.prompt for p in own}) == len(own)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(folder, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(folder, tmp_path / name, Pretend(), seed, refinements=3, grown_users=0.25)
    read = {
        name: {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two", "three")
    }
    assert read["one"] == read["two"]
    assert read["one"]["preferences.parquet"] != read["three"]["preferences.parquet"]


def test_a_second_run_asks_nothing_and_writes_the_same(folder, tmp_path):
    seen: list[Request] = []
    store = Store(tmp_path / "replies.sqlite")
    model = CachedModel(Pretend(seen.append), store)
    run(folder, tmp_path / "out", model, refinements=2)
    first = (tmp_path / "out" / "preferences.parquet").read_bytes()
    asked = len(seen)
    assert asked == len(store)  # nothing was asked twice
    run(folder, tmp_path / "out", model, refinements=2)
    assert len(seen) == asked
    assert (tmp_path / "out" / "preferences.parquet").read_bytes() == first


def test_labels_are_the_labellers_and_the_checks_count_them(folder, tmp_path):
    figures, _ = run(folder, tmp_path / "out", Partial(), users=24)
    data = load_preferences(tmp_path / "out")
    for user_id, preference in data:
        short = "likes short" in data.users[user_id].description
        key = [(text.count("e"), text) for text in (preference.chosen, preference.rejected)]
        # The texts are quoted in the request, which changes no letter of them.
        assert (key[0][0] >= key[1][0]) != short or key[0][0] == key[1][0]
        assert preference.extra["probability"] == 0.9
    assert figures["labels"]["inconsistent"] == figures["labels"]["malformed"] == 0
    assert figures["labels"]["clear"] == len(data) == figures["preferences"]
    assert figures["entropy"]["before"] == pytest.approx(-0.9 * log(0.9) - 0.1 * log(0.1), abs=1e-4)
    assert figures["position_bias"]["mean"] == 0
    matrix = np.array(figures["disagreement"]["matrix"])
    assert set(np.unique(matrix)) == {0.0, 1.0}  # users agree on everything, or on nothing
    shares = [float(np.mean(row)) for row in matrix]
    train = list(data.of("train").users.values())
    short = [("likes short" in user.description) for user in train]
    expected = [np.mean([mine != other for other in short]) for mine in short]
    assert shares == pytest.approx(expected, abs=1e-3)


class Leaning(Partial):
    """A labeller's model that always prefers what stands first."""

    name = "leaning"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        for group in super().answer(requests):
            yield [
                (p, r._replace(text="A", probabilities=(0.8, 0.2)) if r.probabilities else r)
                for p, r in group
            ]


def test_a_labeller_that_goes_by_position_labels_nothing(folder, tmp_path):
    with pytest.raises(FspoError, match="the labeller decides nothing"):
        run(folder, tmp_path / "out", Leaning())
    assert not (tmp_path / "out").exists()


def test_the_measured_labeller_goes_by_what_the_user_wants(folder, tmp_path):
    figures, domain = run(folder, tmp_path / "out", Varied(), labeller="measured", margin=0.4)
    data = load_preferences(tmp_path / "out")
    wanted = {v.value: v.wants["words"] for v in domain.traits[0].values}
    for user_id, preference in data:
        want = wanted[data.users[user_id].attributes["length"]]
        far = [abs(len(t.split()) - want) for t in (preference.chosen, preference.rejected)]
        assert far[1] - far[0] >= 0.4 * 5 - 1e-9
    assert figures["labels"]["unsure"] > 0


def test_refinement_makes_an_undecided_labeller_decided(folder, tmp_path):
    figures, _ = run(
        folder, tmp_path / "out", Learning(), refinements=4, users=24, guidelines=False
    )
    assert figures["growth"] == 4
    assert figures["entropy"]["before"] == pytest.approx(log(2), abs=1e-4)
    assert figures["entropy"]["after"] < 0.4
    growth = [json.loads(ln) for ln in (tmp_path / "out" / "growth.jsonl").open(encoding="utf-8")]
    for line in growth:
        steps = [step["added"] for step in line["steps"]]
        assert line["description"] == " ".join([line["seed"], *steps])


class Learning(Partial):
    """A labeller's model that knows nothing until a description has grown by two sentences."""

    name = "learning"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        for group in super().answer(requests):
            [(place, reply)] = group
            grown = requests[place].messages[0][1].count("They like") >= 4
            if reply.probabilities and not grown:
                reply = reply._replace(probabilities=(0.5, 0.5))
            yield [(place, reply)]


def test_users_who_are_too_much_alike_are_begun_again(folder, tmp_path):
    figures, _ = run(
        folder,
        tmp_path / "out",
        Pretend(),
        refinements=2,
        disagreement=[0.99, 1.0],
        remakes=2,
    )
    users = figures["users"]["train"]
    assert figures["disagreement"]["users_remade"] == 2 * users
    assert figures["disagreement"]["users_outside"] == users


def test_views_are_asked_for_once_a_question_and_answered_in_turn(tmp_path):
    seen: list[Request] = []
    folder = write_domain(tmp_path / "viewed", "views")
    figures, _ = run(folder, tmp_path / "out", Pretend(seen.append), views=1)
    purposes = [request.purpose for request in seen]
    assert purposes.count("views") == sum(figures["questions"].values())
    assert purposes.count("answers") == 4 * purposes.count("views")
    data = load_preferences(tmp_path / "out")
    assert all(preference.extra["chosen_manner"] for _, preference in data)


def test_more_questions_and_users_than_there_are_are_grown(folder, tmp_path):
    figures, _ = run(folder, tmp_path / "out", Pretend(), questions=60, grown_users=0.5)
    assert sum(figures["questions"].values()) == 60
    assert figures["grown_questions"] == 12
    users = load_preferences(tmp_path / "out").users.values()
    assert sum(user.attributes["kind"] == "grown" for user in users) == 10


def test_only_test_users_stand_between_values(folder, tmp_path):
    run(folder, tmp_path / "out", Pretend(), users=30, between=0.5)
    users = load_preferences(tmp_path / "out").users.values()
    between = [user for user in users if user.attributes["kind"] == "between"]
    assert len(between) == 3
    for user in between:
        assert user.split == "test"
        assert user.attributes["wants"]["words"] in (8.5, 21)
