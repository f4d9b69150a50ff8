"""An ensemble: shares by weight, each request's fate its own, every reply signed."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from fspo.llm.asking import ask_readable
from fspo.llm.ensemble import Ensemble, Member
from fspo.llm.requests import Reply, Request, ask


class Echo:
    """Repeats the question, with its temperature and seed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        self.asked += requests
        for place in reversed(range(len(requests))):
            request = requests[place]
            yield [(place, Reply(f"{request.messages[0][1]} {request.temperature}", self.name))]


def questions(count: int) -> list[Request]:
    return [Request((("user", f"number {n}"),), 5, temperature=0.5) for n in range(count)]


def test_members_share_the_work_by_weight():
    both = Ensemble([Member(Echo("one"), 3.0), Member(Echo("other"), 1.0)])
    writers = Counter(reply.model for reply in ask(both, questions(4000)))
    # 3,000 are expected, with a standard deviation of 27.
    assert abs(writers["one"] - 3000) < 5 * 27
    assert both.name == "3 one + 1 other"


def test_replies_come_to_their_requests_and_do_not_depend_on_the_others():
    both = Ensemble([Member(Echo("one")), Member(Echo("other"))])
    whole = ask(both, questions(60))
    assert [r.text for r in whole] == [f"number {n} 0.5" for n in range(60)]
    assert ask(both, questions(60)[17:23]) == whole[17:23]


def test_a_members_temperature_is_for_what_it_samples():
    warm = Ensemble([Member(Echo("warm"), temperature=1.3)])
    asked = [
        Request((("user", "a"),), 5, temperature=0.5),
        Request((("user", "b"),), 5, temperature=0.0),
        Request((("user", "c"),), 1, temperature=0.5, choices=("A", "B")),
    ]
    assert [reply.text for reply in ask(warm, asked)] == ["a 1.3", "b 0.0", "c 0.5"]


@pytest.mark.parametrize("members", [[], [Member(Echo("none"), 0.0)]])
def test_an_ensemble_needs_somebody(members):
    with pytest.raises(ValueError, match="positive weight"):
        Ensemble(members)


class Stubborn(Echo):
    """Answers what can be read only to the second try, and to some questions never."""

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        self.asked += requests
        for place, request in enumerate(requests):
            told = request.messages[0][1]
            fine = request.seed > 0 and told != "number 3"
            yield [(place, Reply(told if fine else "hm", self.name))]


def test_what_cannot_be_read_is_asked_again_as_another_draw_and_not_for_ever():
    model = Stubborn("stubborn")
    read = ask_readable(model, questions(5), lambda text: text if "number" in text else None, 3)
    assert [found for found, _ in read] == ["number 0", "number 1", "number 2", None, "number 4"]
    assert read[3][1].text == "hm"
    assert len(model.asked) == 5 + 5 + 1
    assert len({request.seed for request in model.asked}) == 3
