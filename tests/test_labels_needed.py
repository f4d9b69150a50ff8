"""Labels needed: on users of two kinds, where it is known what has to be asked."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from conftest import byte_tokenizer, small_model
from known_kinds import Kinds, no, yes

from fspo import FspoError, Preference, Preferences, User
from fspo.evaluation.probing import Probe
from fspo.learning.adapters import new_adapter
from fspo.learning.policy import Policy
from fspo.llm.sampling import Sampling
from fspo.methods.fspo.method import InContext
from fspo.recipe import Lora, TrainRecipe

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "labels_needed.py"
SPEC = importlib.util.spec_from_file_location("labels_needed", EXPERIMENT)
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)
labels_needed, pairs_about = MODULE.labels_needed, MODULE.pairs_about

LIKES = (
    {f"same{k}": (0.8, 0.8) for k in range(9)}
    | {"telling": (0.99, 0.01)}
    | {f"target{k}": (0.9, 0.1) for k in range(3)}
)
KINDS = Kinds(LIKES, (0.5, 0.5))
ABOUT = [yes("target2")]


def probes() -> list[Probe]:
    """Six users, every other one of kind B; what tells them apart comes last by chance."""
    found = []
    for number in range(6):
        answer = no if number % 2 else yes
        shots = [*(yes(f"same{k}") for k in range(9)), answer("telling")]
        found.append(Probe(User(f"u{number}"), shots, [answer("target0"), answer("target1")]))
    return found


def test_one_label_is_enough_where_it_is_the_one_that_tells() -> None:
    results = labels_needed(KINDS, probes(), ABOUT, labels=10, accuracy_to_reach=0.9)
    assert results["asked"]["labels_needed"] == 1
    assert results["random"]["labels_needed"] == 10
    # Without a label, or with one that says nothing, neither answer is likelier.
    assert results["random"]["by_shots"] == {str(k): 0.5 for k in range(10)} | {"10": 1.0}
    assert results["asked"]["by_shots"] == {"0": 0.5} | {str(k): 1.0 for k in range(1, 11)}
    low, high = results["asked"]["ci95"]["1"]
    assert 0.5 < low < high == 1.0  # twelve pairs told right are no certainty
    assert results["difference"]["1"] == {"mean": 0.5, "ci95": [0.5, 0.5], "n": 12}
    assert results["difference"]["10"] == {"mean": 0.0, "ci95": [0.0, 0.0], "n": 12}
    assert (results["method"], results["pairs"]) == ("kinds", 10)


def test_an_accuracy_that_is_not_reached_is_said_to_be_so() -> None:
    results = labels_needed(KINDS, probes(), ABOUT, labels=3, accuracy_to_reach=0.9)
    assert results["random"]["labels_needed"] is None
    assert labels_needed(KINDS, probes(), ABOUT, labels=3, accuracy_to_reach=0.9) == results


def test_pairs_about_are_of_different_prompts_and_depend_on_the_seed() -> None:
    by_user = {f"u{n}": [Preference(f"q{k}", "a", "b") for k in range(9)] for n in range(3)}
    drawn = pairs_about(Preferences(by_user), 5, seed=1)
    assert len({pair.prompt for pair in drawn}) == 5
    assert drawn == pairs_about(Preferences(by_user), 5, seed=1)
    assert drawn != pairs_about(Preferences(by_user), 5, seed=2)
    assert len(pairs_about(Preferences(by_user), 99, seed=1)) == 9


def test_a_policy_is_compared_from_end_to_end() -> None:
    adapted = new_adapter(small_model(), TrainRecipe(lora=Lora(rank=2)))
    policy = Policy(adapted.eval(), byte_tokenizer(), "chain", 0.1, {})
    method = InContext("FSPO", policy, Sampling())
    two = [Probe(p.user, p.shots[7:], p.targets) for p in probes()[:2]]
    results = labels_needed(method, two, ABOUT, labels=2, accuracy_to_reach=0.8, shortlist=2)
    # A new adapter knows nothing: every pair is a tie.
    for order in ("random", "asked"):
        assert np.allclose(list(results[order]["by_shots"].values()), 0.5)


def test_faults_are_named() -> None:
    with pytest.raises(FspoError, match="no probes"):
        labels_needed(KINDS, [], ABOUT, labels=1, accuracy_to_reach=0.9)
    with pytest.raises(FspoError, match=r"user 'u0': has 10 pairs .* labels is 11"):
        labels_needed(KINDS, probes(), ABOUT, labels=11, accuracy_to_reach=0.9)
