"""Stacks: against log-odds whose right weights are known, and whose choices decide the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference, User
from fspo.evaluation.probing import LogOdds, Probe, correct
from fspo.evaluation.stacking import stacked, stacks

COUNTS = 3


def probes_of(users: int, targets: int) -> list[Probe]:
    def pairs(user: int) -> list[Preference]:
        return [Preference("p", f"a {user} {t}", f"b {user} {t}") for t in range(targets)]

    return [Probe(User(f"u{user}"), [], pairs(user)) for user in range(users)]


def evidence(generator: np.random.Generator, size: tuple[int, ...]) -> LogOdds:
    """Log-odds of what comes true, so often as they say: of N(1, 1) against N(-1, 1)."""
    return np.asarray(2 * generator.normal(1, 1, size))


def test_independent_evidence_adds_up() -> None:
    """The log-odds of both are their sum (Bayes), which is right more often than either."""
    generator = np.random.default_rng(0)
    probes = probes_of(400, 10)
    one, other, noise = (
        [scale * evidence(generator, (COUNTS, 10)) for _ in probes] for scale in (1.0, 0.5, 0.0)
    )
    together = stacked(probes, [one, other, noise])
    # Said with half of its strength, the other's weight is twice as large.
    apart = [own - a - 2 * b for own, a, b in zip(together, one, other, strict=True)]
    assert np.std(apart) < 0.3  # of log-odds with a standard deviation of 2.8
    right = [np.mean([correct(own) for own in told]) for told in (one, other, together)]
    assert right[2] > max(right[:2]) + 0.03


def test_an_adviser_who_is_wrong_is_not_believed() -> None:
    generator = np.random.default_rng(1)
    probes = probes_of(40, 5)
    chance = [generator.normal(0, 5, (1, 5)) for _ in probes]
    known = [evidence(generator, (1, 5)) for _ in probes]
    together = stacked(probes, [chance, known])
    assert np.mean([correct(own) for own in together]) > 0.8
    assert np.mean([correct(own) for own in chance]) < 0.6


@given(st.integers(0, 9), st.integers(0, 1000))
def test_nobody_decides_how_the_own_choices_are_foretold(who: int, seed: int) -> None:
    """Who chooses the reverse of everything is foretold the reverse, with the same weights."""
    generator = np.random.default_rng(seed)
    probes = probes_of(10, 3)
    told = [[generator.normal(0.5, 1, (COUNTS, 3)) for _ in probes] for _ in range(2)]
    before = stacked(probes, told)
    turned = [[-own if n == who else own for n, own in enumerate(of_one)] for of_one in told]
    after = stacked(probes, turned)
    assert after[who] == pytest.approx(-before[who], abs=1e-9)


def test_the_weights_are_those_of_all_others() -> None:
    """Against a minimum that PyTorch finds, from rows that are sorted out by hand."""
    generator = np.random.default_rng(2)
    probes = probes_of(4, 6)
    told = [[generator.normal(0.5, 1, (1, 6)) for _ in probes] for _ in range(2)]
    found = stacked(probes, told)
    others = torch.tensor(np.array([[told[k][u][0] for k in (0, 1)] for u in (0, 2, 3)]))
    rows = others.transpose(1, 2).reshape(-1, 2)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.softplus(-rows @ weights).sum() + weights.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    said = sum(w * told[k][1] for k, w in enumerate(weights.detach().numpy()))
    assert found[1] == pytest.approx(said, abs=1e-4)


def test_two_who_disagree_over_the_same_pairs_teach_nothing_without_shots() -> None:
    """They are in the same part: in different ones, each would be foretold what the other chose."""
    generator = np.random.default_rng(3)
    probes, told = [], []
    for couple in range(20):
        pairs = [Preference("p", f"a {couple} {t}", f"b {couple} {t}") for t in range(3)]
        said = generator.normal(0, 2, (1, 3))
        probes += [Probe(User(f"one {couple}"), [], pairs)]
        probes += [Probe(User(f"other {couple}"), [], [p.reversed() for p in pairs])]
        told += [said, -said]
    for own in stacked(probes, [told]):
        assert own == pytest.approx(np.zeros((1, 3)), abs=1e-9)


def test_stacks_are_of_the_baselines_without_and_with_each_policy() -> None:
    probes = probes_of(6, 2)
    generator = np.random.default_rng(4)
    a, b, c = ([generator.normal(1, 1, (1, 2)) for _ in probes] for _ in range(3))
    found = stacks(probes, {"majority": a}, {"X": b, "Y": c})
    assert list(found) == [
        "baselines, stacked", "baselines and X, stacked", "baselines and Y, stacked"
    ]  # fmt: skip
    for name, parts in zip(found, ([a], [a, b], [a, c]), strict=True):
        assert np.array(found[name]).tolist() == np.array(stacked(probes, parts)).tolist()


def test_of_a_single_user_nothing_is_known() -> None:
    [said] = stacked(probes_of(1, 3), [[np.ones((COUNTS, 3))]])
    assert said.tolist() == np.zeros((COUNTS, 3)).tolist()
