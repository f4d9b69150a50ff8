"""The loss of a tree's targets against the formulas, one target after the other."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import byte_tokenizer

from fspo import Episode, EpisodeTree, FspoError, Preference
from fspo.learning.losses import TreeLoss

BETA = 0.1
POLICY = [-3.0, -7.0, -4.0, -2.0, -6.0, -6.5]
REFERENCE = [-4.0, -5.0, -4.5, -3.0, -5.0, -5.5]


@pytest.fixture(scope="module")
def tree() -> EpisodeTree:
    pairs = [("yes", "no"), ("certainly", "never"), ("a", "bcd")]
    preferences = [Preference(f"q{i}", *pair) for i, pair in enumerate(pairs)]
    return EpisodeTree.from_episode(Episode("ann", preferences), byte_tokenizer())


def loss_of(objective: str, margin: float) -> float:
    if objective == "ipo":
        return (margin - 1 / (2 * BETA)) ** 2
    return math.log(1 + math.exp(-BETA * margin))


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("likely", [(), (1.0, 0.2, 0.6)])
@pytest.mark.parametrize("nll", [0.0, 0.5])
@pytest.mark.parametrize("own_weights", [True, False])
def test_losses_are_the_formulas(
    tree: EpisodeTree,
    objective: str,
    reduction: str,
    likely: tuple[float, ...],
    nll: float,
    own_weights: bool,
) -> None:
    weights = [nll, 2.0, nll] if own_weights else [nll] * 3
    tree = dataclasses.replace(tree, likely=likely, nll=weights if own_weights else ())
    terms = TreeLoss(objective, BETA, reduction, nll=nll)
    losses, margins = terms(tree, torch.tensor(POLICY), torch.tensor(REFERENCE))
    for k in range(3):
        lengths = [len(tree.responses[2 * k + side].tokens) for side in (0, 1)]
        gains = [POLICY[2 * k + side] - REFERENCE[2 * k + side] for side in (0, 1)]
        over = lengths if reduction == "mean" else (1, 1)
        margin = gains[0] / over[0] - gains[1] / over[1]
        p = likely[k] if likely else 1.0
        loss = p * loss_of(objective, margin) + (1 - p) * loss_of(objective, -margin)
        loss -= weights[k] * POLICY[2 * k] / lengths[0]
        assert losses[k].item() == pytest.approx(loss, rel=1e-5)
        assert margins[k].item() == pytest.approx(margin, rel=1e-5)


@pytest.mark.parametrize("likely", [(), (1.0, 0.2, 0.6)])
def test_fine_tuning_reads_no_reference(tree: EpisodeTree, likely: tuple[float, ...]) -> None:
    terms = TreeLoss("sft", BETA)
    assert not terms.needs_reference
    policy = torch.tensor(POLICY, requires_grad=True)
    losses, margins = terms(dataclasses.replace(tree, likely=likely), policy, None)
    p = torch.tensor(likely or [1.0, 1.0, 1.0])
    expected = -p * torch.tensor(POLICY[0::2]) - (1 - p) * torch.tensor(POLICY[1::2])
    torch.testing.assert_close(losses.detach(), expected)
    torch.testing.assert_close(margins, torch.tensor([4.0, -2.0, 0.5]))
    losses.sum().backward()
    assert not margins.requires_grad
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, torch.stack([-p, p - 1], dim=1).flatten())


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_a_preference_loss_without_its_reference_is_refused(
    tree: EpisodeTree, objective: str
) -> None:
    with pytest.raises(ValueError, match=f"{objective}: the reference's"):
        TreeLoss(objective, BETA)(tree, torch.tensor(POLICY), None)


def test_an_unknown_objective_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(FspoError, match="objective: there is no 'orpo'; there are ipo, dpo, sft"):
        TreeLoss("orpo", BETA)
