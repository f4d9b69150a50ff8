"""What to ask: a case worked by hand, mutual information by its definition, a policy's trees."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from conftest import byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from known_kinds import Kinds, no, yes

from fspo import EpisodeTree, FspoError, Preference, User
from fspo.learning.adapters import new_adapter
from fspo.learning.policy import Policy
from fspo.llm.sampling import Sampling
from fspo.methods.asking import chances_of, expected_gains, next_pair
from fspo.methods.fspo.method import InContext
from fspo.recipe import Lora, TrainRecipe

USER = User("u")


# Kinds A and B, as likely as each other.
LIKES = {"both": (0.9, 0.9), "coin": (0.5, 0.5), "split": (0.9, 0.1), "target": (0.9, 0.1)}


def test_by_hand() -> None:
    """After "yes" to `split` the user is of kind A with 0.9, and says "yes" to `target` with
    0.9 * 0.9 + 0.1 * 0.1 = 0.82; after "no" with 0.18; without an answer with 0.5.
    """
    kinds = Kinds(LIKES, (0.5, 0.5))
    asked = [yes("both"), yes("coin"), yes("split")]
    assert chances_of(kinds, USER, [yes("split")], [yes("target")]) == pytest.approx([0.82])
    chances = chances_of(kinds, USER, [], asked)
    assert chances == pytest.approx([0.9, 0.5, 0.5])
    gain = log(2) + 0.82 * log(0.82) + 0.18 * log(0.18)
    found = expected_gains(kinds, USER, [], asked, [yes("target")], chances)
    assert found == pytest.approx([0, 0, gain], abs=1e-9)


@settings(deadline=None)
@given(st.permutations(["both", "coin", "split"]), st.integers(0, 9), st.data())
def test_it_asks_where_the_kinds_disagree(order: list[str], seed: int, data: st.DataObject) -> None:
    """Not where they agree, nor what is a coin's throw for both; whatever is called chosen."""
    candidates = [data.draw(st.sampled_from([yes(p), no(p)])) for p in order]
    targets = [data.draw(st.sampled_from([yes("target"), no("target")])), yes("both")]
    generator = np.random.default_rng(seed)
    kinds = Kinds(LIKES, (0.5, 0.5))
    assert order[next_pair(kinds, USER, [], candidates, targets, generator)] == "split"


chance = st.floats(0.02, 0.98)


@settings(deadline=None)
@given(st.lists(st.tuples(chance, chance, chance), min_size=3, max_size=5), st.data())
def test_the_gain_is_the_mutual_information(
    rows: list[tuple[float, float, float]], data: st.DataObject
) -> None:
    """By its definition, from the joint table of both answers over three kinds; and for such a
    predictor it is the expected fall of the entropy.
    """
    likes = {str(number): row for number, row in enumerate(rows)}
    kinds = Kinds(likes, (0.2, 0.5, 0.3))
    shots = [data.draw(st.sampled_from([yes("0"), no("0")]))]
    weights = kinds.prior * kinds.chance(shots[0])
    weights = weights / weights.sum()
    target = str(len(rows) - 1)
    for asked in (str(k) for k in range(1, len(rows) - 1)):
        chances = chances_of(kinds, USER, shots, [yes(asked)])
        (found,) = expected_gains(kinds, USER, shots, [yes(asked)], [yes(target)], chances)
        joint = np.array(
            [
                [weights @ (kinds.chance(c) * kinds.chance(t)) for t in (yes(target), no(target))]
                for c in (yes(asked), no(asked))
            ]
        )
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        assert found == pytest.approx((joint * np.log(joint / apart)).sum(), abs=1e-9)

        def entropies(after: list[Preference]) -> float:
            (p,) = chances_of(kinds, USER, after, [yes(target)])
            return -p * log(p) - (1 - p) * log(1 - p)

        outcomes = ((yes(asked), chances[0]), (no(asked), 1 - chances[0]))
        fall = entropies(shots) - sum(p * entropies([*shots, o]) for o, p in outcomes)
        assert found == pytest.approx(fall, abs=1e-9)


def test_a_choice_costs_two_calls_for_each_on_the_shortlist_and_one_more() -> None:
    likes = {str(k): (0.5 + 0.04 * k, 0.5 - 0.03 * k) for k in range(12)}
    kinds = Kinds(likes, (0.5, 0.5))
    candidates = [yes(str(k)) for k in range(11)]
    next_pair(kinds, USER, [], candidates, [yes("11")], np.random.default_rng(0), shortlist=3)
    assert kinds.calls == 1 + 2 * 3


def test_equals_are_decided_by_the_generator() -> None:
    kinds = Kinds({"a": (0.9, 0.1), "b": (0.9, 0.1), "c": (0.9, 0.1)}, (0.5, 0.5))
    candidates, targets = [yes("a"), yes("b")], [yes("c")]

    def ask(seed: int) -> int:
        generator = np.random.default_rng(seed)
        return next_pair(kinds, USER, [], candidates, targets, generator)

    assert {ask(seed) for seed in range(20)} == {0, 1}
    assert ask(7) == ask(7)


def test_there_has_to_be_something_to_ask_and_something_to_learn() -> None:
    kinds, generator = Kinds(LIKES, (0.5, 0.5)), np.random.default_rng(0)
    with pytest.raises(FspoError, match="no candidates"):
        next_pair(kinds, USER, [], [], [yes("target")], generator)
    with pytest.raises(FspoError, match="no targets"):
        next_pair(kinds, USER, [], [yes("split")], [], generator)


def test_with_a_policy_it_equals_asking_pair_by_pair() -> None:
    adapted = new_adapter(small_model(), TrainRecipe(lora=Lora(rank=4)))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # which starts at 0
            weight.data = small_model(seed=1).lm_head.weight.data[: weight.shape[0], :4].clone()
    policy = Policy(adapted.eval(), byte_tokenizer(), "chain", 0.5, {})
    shots = [yes("s")]
    candidates = [Preference(f"c{k}", "one" * (k + 1), "two") for k in range(3)]
    targets = [Preference("t", "good", "bad"), yes("t?")]

    def chance_of(after: list[Preference], pair: Preference) -> float:
        tree = EpisodeTree.from_candidates(
            "u", after, pair.prompt, [pair.chosen, pair.rejected], policy.tokenizer
        )
        chosen, rejected = policy.margins([tree])[0].tolist()
        return 1 / (1 + np.exp(-0.5 * (chosen - rejected)))

    def surprise(p: float) -> float:
        return -p * log(p) - (1 - p) * log(1 - p)

    expected = []
    for pair in candidates:
        other = Preference(pair.prompt, pair.rejected, pair.chosen)
        p = chance_of(shots, pair)
        gains = []
        for target in targets:
            q, r = chance_of([*shots, pair], target), chance_of([*shots, other], target)
            gains.append(surprise(p * q + (1 - p) * r) - p * surprise(q) - (1 - p) * surprise(r))
        expected.append(np.mean(gains))
    method = InContext("FSPO", policy, Sampling())
    chances = chances_of(method, USER, shots, candidates)
    found = expected_gains(method, USER, shots, candidates, targets, chances)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(expected) > 1e-4
    best = next_pair(method, USER, shots, candidates, targets, np.random.default_rng(0))
    assert best == int(np.argmax(expected))
