"""Money: never more than the budget, and what is foreseen is reckoned as a person would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.llm.meter import Budget, Expected, Meter, Price
from fspo.llm.requests import Reply, Request


def request(characters: int, tokens: int, purpose: str = "") -> Request:
    return Request((("user", "x" * characters),), tokens, purpose=purpose)


def test_a_price_is_for_a_million_tokens():
    assert Price(input=2.0, output=8.0).of(500_000, 250_000) == 3.0
    # 300 characters are at most 100 tokens, and a message's marks are 8.
    assert Price(input=1e6).at_most(request(300, 50)) == 108
    assert Price(output=1e6).at_most(request(300, 50)) == 50


@given(
    st.floats(1, 100),
    st.lists(st.tuples(st.integers(0, 600), st.integers(1, 50), st.floats(0, 1)), max_size=40),
)
def test_the_budget_is_never_exceeded(budget, asked):
    """Each asks for its most, and pays a share of it at some later time."""
    meter = Meter(Price(input=1e4, output=1e5), Budget(budget))
    open_ones = []
    for characters, tokens, share in asked:
        wanted = request(characters, tokens)
        try:
            open_ones.append((meter.reserve(wanted), wanted, share))
        except FspoError:
            assert open_ones or meter.budget.spent + meter.price.at_most(wanted) > budget
        if len(open_ones) > 2:
            reserved, paid, part = open_ones.pop(0)
            read, written = int(characters / 4 * part), int(paid.max_tokens * part)
            read = min(read, len(paid.messages[0][1]) // 3)
            meter.commit(reserved, paid, Reply("", "m", read, written))
        assert meter.budget.spent + meter.budget.reserved <= budget + 1e-6


def test_a_request_that_came_to_nothing_costs_nothing():
    meter = Meter(Price(output=1e6), Budget(limit=10))
    meter.commit(meter.reserve(request(0, 10)), request(0, 10), None)
    assert (meter.budget.spent, meter.budget.reserved, meter.requests) == (0, 0, 0)
    with pytest.raises(FspoError, match=r"10 is used up: 0\.0000 spent.*may cost 11\.0000"):
        meter.reserve(request(0, 11))


def test_the_total_is_foreseen_from_what_answers_have_cost():
    meter = Meter(Price(output=1e6))
    expected = {"labels": Expected(100, 3.0), "answers": Expected(10, 7.0)}
    assert meter.budget.projected(expected) == 100 * 3 + 10 * 7
    for _ in range(20):
        meter.commit(0.0, request(0, 5, "labels"), Reply("", "m", 0, 2))
    # Twenty labels cost two each: so will the other eighty. Answers are not known yet.
    assert meter.budget.projected(expected) == 40 + 80 * 2 + 10 * 7
    meter.budget.purposes["answers"].answered += 4  # known from another run
    assert meter.budget.projected(expected) == 40 + 80 * 2 + 6 * 7
