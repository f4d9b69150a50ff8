"""The objectives against cases worked by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fspo.learning.objectives import dpo, expected, ipo, margin, nll, sft


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


def test_the_expected_loss_weighs_both_choices() -> None:
    # 3/4 of the loss if the one is chosen, 1/4 of it if the other is; what is known is known
    losses = expected(
        torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0, 5.0, 5.0]), torch.tensor([0.75, 1.0, 0.0])
    )
    torch.testing.assert_close(losses, torch.tensor([2.0, 1.0, 5.0]))


@given(st.floats(0.02, 0.98), st.floats(0.05, 2))
def test_the_expected_dpo_loss_is_least_at_the_odds(likely: float, beta: float) -> None:
    at = math.log(likely / (1 - likely)) / beta
    h = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    loss = expected(dpo(h, beta), dpo(-h, beta), torch.tensor([likely], dtype=torch.float64))
    entropy = -likely * math.log(likely) - (1 - likely) * math.log(1 - likely)
    assert loss.item() == pytest.approx(entropy)
    loss.backward()
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(0, abs=1e-9)


def test_the_expected_ipo_loss_is_least_at_the_expected_margin() -> None:
    # chosen with 3/4, beta 0.1: 3/4 of 5 nats and 1/4 of -5
    h = torch.tensor([2.5], requires_grad=True)
    expected(ipo(h, 0.1), ipo(-h, 0.1), torch.tensor([0.75])).backward()
    torch.testing.assert_close(h.grad, torch.tensor([0.0]))
