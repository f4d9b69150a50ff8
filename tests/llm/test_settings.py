"""Settings that a server refuses, found out by several requests at once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fspo.llm.faults import Fault
from fspo.llm.settings import Settings, Trial

WHOLE = {"model": "m", "seed": 1, "top_p": 0.5, "logprobs": True, "top_logprobs": 20}
names = st.sampled_from(["seed", "top_p", "logprobs"])


def answer(trial: Trial, body: dict[str, object], refuses: Sequence[str]) -> bool:
    """What comes of one request: whether it was answered, or else is asked once more."""
    for name in refuses:
        if name in body:
            assert trial.leaves_out(Fault(400, f"unknown setting {name!r}", fields=(name,)))
            assert name not in trial.body
            return False
    trial.taken()
    return True


@given(st.lists(names, unique=True), st.integers(1, 4), st.data())
def test_no_request_is_given_up_in_whatever_order_refusals_and_answers_come(
    refuses: list[str], count: int, data: st.DataObject
) -> None:
    settings = Settings("server")
    trials = [settings.trial(WHOLE) for _ in range(count)]
    under_way = {number: trial.body for number, trial in enumerate(trials)}
    steps = 0
    while under_way:
        number = data.draw(st.sampled_from(sorted(under_way)))
        if answer(trials[number], under_way[number], refuses):
            del under_way[number]
        else:
            under_way[number] = trials[number].body
        steps += 1
        assert steps <= count * (len(refuses) + 1)
    sent = settings.trial(WHOLE).body
    assert not set(refuses) & set(sent)
    assert ("top_logprobs" in sent) == ("logprobs" not in refuses)
