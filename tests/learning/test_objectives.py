"""The objectives against cases worked by hand."""

import math

import pytest
import torch

from fspo.learning.objectives import dpo, ipo, margin, nll, sft


def test_margin_is_the_gain_over_the_reference() -> None:
    values = [torch.tensor([v]) for v in (-10.0, -12.0, -11.0, -11.5)]
    assert margin(*values).item() == pytest.approx((-10 + 12) - (-11 + 11.5))


def test_ipo_is_a_squared_distance_to_its_target_margin() -> None:
    # beta 0.1 wants a margin of 1 / 0.2 = 5 nats: 4 off at 1, none off at 5, 2 off at 7
    losses = ipo(torch.tensor([1.0, 5.0, 7.0]), beta=0.1)
    torch.testing.assert_close(losses, torch.tensor([16.0, 0.0, 4.0]))


def test_dpo_is_the_logistic_loss() -> None:
    losses = dpo(torch.tensor([0.0, 10.0]), beta=0.1)
    expected = [math.log(2), math.log(1 + math.exp(-1))]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_sft_is_the_negative_log_likelihood() -> None:
    torch.testing.assert_close(sft(torch.tensor([-3.0])), torch.tensor([3.0]))


def test_nll_is_per_token() -> None:
    losses = nll(torch.tensor([-3.0, -8.0]), torch.tensor([2, 4]))
    torch.testing.assert_close(losses, torch.tensor([1.5, 2.0]))
