"""Labels in opposition: who sits with whom, and that every pair has two who disagree over it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_domain import write_domain
from small_engine import Partial, Varied, run

from fspo.domains.domain import Example, load_domain
from fspo.llm.requests import Reply, Request
from fspo.preferences.reading import load_preferences
from fspo.synthesis.answers import write_answers
from fspo.synthesis.coupling import couple
from fspo.synthesis.personas import Persona, seed_personas
from fspo.synthesis.population import opposites
from fspo.synthesis.prompts import Question


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))), st.integers(0, 9))
def test_four_users_fall_into_couples_that_disagree_if_there_is_a_way(disagreeing, seed):
    def disputed(one: int, other: int) -> list[str]:
        return [f"{one}{other}"] if (one, other) in disagreeing else []

    found = couple(disputed, np.random.default_rng(seed))
    ways = [
        {(a, b), (c, d)}
        for a, b, c, d in permutations(range(4))
        if a < b and c < d and {(a, b), (c, d)} <= disagreeing
    ]
    if not ways:
        assert found == []
        return
    assert {(one, other) for one, other, _ in found} in ways
    assert all(pair == f"{one}{other}" for one, other, pair in found)


@given(st.lists(st.floats(0, 20), min_size=4, max_size=40, unique=True))
def test_opposites_stand_side_by_side(wanted):
    people = [Persona(str(w), wants={"words": w}) for w in wanted]
    ordered = opposites(people)
    assert sorted(p.description for p in ordered) == sorted(p.description for p in people)
    ranks = {
        p.description: rank for rank, p in enumerate(sorted(people, key=lambda p: p.wants["words"]))
    }
    size = -(-len(people) // 4)
    for start in range(0, len(people) // 4 * 4, 4):
        places = [ranks[p.description] for p in ordered[start : start + 4]]
        if start // 4 < len(people) - 3 * size:  # a whole four, one of each quarter
            assert sorted(place // size for place in places) == [0, 1, 2, 3]


class Split(Partial):
    """A labeller's model in whose eyes all but those who like long answers are of one mind."""

    name = "split"
    of_one_mind = ("likes short", "likes middling")


@pytest.mark.parametrize("settings", [{"labeller": "measured", "margin": 0.4}, {}])
def test_every_pair_of_a_four_has_two_who_disagree_over_it(tmp_path: Path, settings: dict):
    folder = write_domain(tmp_path / "tiny")
    model = Varied() if settings else Split()
    run(folder, tmp_path / "out", model, users=24, opposed=True, **settings)
    data = load_preferences(tmp_path / "out")
    train = data.of("train").by_user
    fours = [[f"train-{n:04}" for n in range(start, start + 4)] for start in range(0, 16, 4)]
    divided = [[train[user] for user in four] for four in fours if four[0] in train]
    assert divided
    for four in divided:
        for same in zip(*four, strict=True):
            assert len({p.prompt for p in same}) == 1
            seen = defaultdict(list)
            for p in same:
                seen[frozenset((p.chosen, p.rejected))].append(p.chosen)
            # Two couples, each divided; both may have been asked about the same pair.
            for pair, chosen in seen.items():
                assert {c: chosen.count(c) for c in pair} == {c: len(chosen) // 2 for c in pair}
    assert not settings or "train-0016" in train  # the seventeenth sits with guests
    for _, own in data.by_user.items():
        assert len({p.prompt for p in own}) == len(own) <= 6


def test_what_is_chosen_is_liked_and_not_the_lesser_evil(tmp_path: Path):
    folder = write_domain(tmp_path / "tiny")
    settings = {"labeller": "measured", "margin": 0.2, "opposed": True}
    run(folder, tmp_path / "out", Varied(), users=24, liked=-0.8, **settings)
    _, domain = run(folder, tmp_path / "any", Varied(), users=24, **settings)
    wanted = {v.value: v.wants["words"] for v in domain.traits[0].values}

    def farthest(name: str) -> float:
        data = load_preferences(tmp_path / name)
        return max(
            abs(len(p.chosen.split()) - wanted[data.users[user].attributes["length"]]) / 5
            for user, p in data
        )

    assert farthest("out") <= 0.8 < farthest("any")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path):
    folder = write_domain(tmp_path / "tiny")
    for name in ("one", "two"):
        run(folder, tmp_path / name, Varied(), labeller="measured", margin=0.4, opposed=True)
    first, second = (tmp_path / name / "preferences.parquet" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


class Listener:
    """Keeps what it is asked."""

    name = "listener"

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        self.asked += requests
        yield [(place, Reply("That is how it is.", self.name)) for place in range(len(requests))]


def test_a_writer_is_shown_the_answers_that_such_a_reader_likes(tmp_path: Path):
    folder = write_domain(tmp_path / "tiny")
    text = (folder / "domain.yaml").read_text(encoding="utf-8")
    example = 'examples: [{question: "Why?", answer: So.}], '
    text = text.replace("{value: short, ", "{value: short, " + example)
    (folder / "domain.yaml").write_text(text, encoding="utf-8")
    domain = load_domain(str(folder))
    drawn = seed_personas(domain, 12, np.random.default_rng(0), between=0.5)
    shown = [Example(question="Why?", answer="So.")]
    for persona in drawn:
        assert list(persona.examples) == (shown if "short" in persona.description else [])
    model = Listener()
    write_answers(
        domain,
        [Question("How?", "how", "curated")],
        drawn,
        model,
        each=12,
        views=1,
        max_tokens=9,
        generator=np.random.default_rng(0),
    )
    assert len(model.asked) == 12
    for request in model.asked:
        turns = (
            [("user", "Why?"), ("assistant", "So.")] if "short" in request.messages[0][1] else []
        )
        assert list(request.messages[1:]) == [*turns, ("user", "How?")]
