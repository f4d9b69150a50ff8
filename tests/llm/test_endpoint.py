"""The endpoint over real HTTP: every request answered once, whatever the server does in between."""

import json
import time

import pytest
from chat_server import ABSENT, ChatServer, endpoint, expected, requests

from fspo.errors import FspoError
from fspo.llm.endpoint import Endpoint
from fspo.llm.meter import Budget, Meter, Price
from fspo.llm.requests import Request, ask
from fspo.llm.store import CachedModel, Store


def answers(count: int) -> list[str]:
    return [
        expected([{"role": role, "content": text} for role, text in request.messages], 0)
        for request in requests(count)
    ]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("fspo.llm.endpoint.FIRST_WAIT", 0.01)


def test_replies_come_to_the_requests_that_they_answer():
    with ChatServer() as server:
        replies = ask(endpoint(server), requests(50))
    assert [reply.text for reply in replies] == answers(50)
    assert {(r.model, r.input_tokens, r.output_tokens) for r in replies} == {("model", 10, 5)}
    body = server.bodies[0]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (20, 1.0, 1.0)


def test_passing_faults_are_tried_again_and_every_request_is_answered_once():
    faults = ("429", "500", "drop", "html", "shape", "json")
    with ChatServer(faults=faults, every=4) as server:
        model = endpoint(server)
        replies = ask(model, requests(120))
    assert [reply.text for reply in replies] == answers(120)
    assert len(server.answered) == 120
    assert set(server.answered.values()) == {1}
    assert model.meter.requests == 120
    assert model.meter.retries == server.requests - 120 > 20


def test_a_request_that_hangs_is_tried_again():
    with ChatServer(faults=("hang",), every=5) as server:
        replies = ask(endpoint(server, timeout=0.3), requests(9))
    assert [reply.text for reply in replies] == answers(9)


def test_no_more_than_so_many_are_on_the_wire_at_once():
    with ChatServer(latency=0.02) as server:
        ask(endpoint(server, concurrency=7), requests(60))
    assert server.most_busy == 7


def test_starts_are_spaced_evenly():
    with ChatServer() as server:
        began = time.monotonic()
        ask(endpoint(server, requests_per_minute=60 * 50), requests(21))
    assert server.starts[-1] - began >= 20 * 0.02  # one of 21 starts at once


def test_a_wrong_key_is_told_and_never_shown():
    with (
        ChatServer(key="another") as server,
        pytest.raises(FspoError, match="refuses the key") as e,
    ):
        ask(endpoint(server), requests(3))
    assert "secret-key" not in str(e.value)
    assert "[key]" in str(e.value)
    assert "secret-key" not in endpoint(server).name


@pytest.mark.parametrize("fault", ["500", "drop", "html", "shape", "json"])
def test_a_server_that_stays_out_of_order_is_told_in_one_line(fault):
    with (
        ChatServer(faults=(fault,), every=1) as server,
        pytest.raises(FspoError, match="no answer after 3 tries") as raised,
    ):
        ask(endpoint(server, tries=3), requests(5))
    assert len(str(raised.value)) < 400


def test_a_server_that_is_down_and_a_model_that_it_does_not_know():
    with ChatServer() as server:
        unknown = Endpoint("unknown", api_key="secret-key", base_url=server.url)
        with pytest.raises(FspoError, match="knows no such model"):
            ask(unknown, requests(1))
    down = Endpoint("model", api_key="x", base_url="http://127.0.0.1:9/v1", tries=2)
    with pytest.raises(FspoError, match=r"model@127\.0\.0\.1:9.*Connection error"):
        ask(down, requests(2))


def test_a_budget_stops_cleanly_and_all_that_was_paid_for_is_kept(tmp_path):
    store = Store(tmp_path / "replies.sqlite")
    price = Price(input=0.0, output=1e6)  # one for each token written; an answer has five
    with ChatServer(latency=0.01) as server:
        meter = Meter(price, Budget(limit=120.0))
        model = CachedModel(endpoint(server, meter=meter, concurrency=4), store)
        with pytest.raises(FspoError, match="budget of 120 is used up"):
            ask(model, requests(60))
        # Twenty tokens are set aside for each request and five are paid: after twenty answers
        # cost 100, there is money for another; from 105 on there is none.
        assert meter.budget.spent <= 120
        assert server.requests == sum(server.answered.values()) == len(store) == 21
        rich = CachedModel(endpoint(server, meter=Meter(price, Budget(limit=1e9))), store)
        assert [reply.text for reply in ask(rich, requests(60))] == answers(60)
    assert set(server.answered.values()) == {1}


UNUSABLE = (
    [ABSENT, None, {}, [], [3], "none", 7, True, {"prompt_tokens": 10}, {"completion_tokens": 5}]
    + [{"prompt_tokens": 10, "completion_tokens": told} for told in (-5, 0, 2.5, 10**12, 1e308)]
    + [{"prompt_tokens": 10, "completion_tokens": told} for told in ("5", None, [5], True, {})]
    + [{"prompt_tokens": told, "completion_tokens": 5} for told in (-(10**9), 0, 1e300, "x")]
    + [{"prompt_tokens": float("nan"), "completion_tokens": float("inf")}]
)


@pytest.mark.parametrize(
    "usage", UNUSABLE, ids=lambda usage: "absent" if usage is ABSENT else str(usage)
)
def test_a_budget_ends_a_run_whatever_a_server_says_of_what_it_used(usage, capsys):
    price = Price(input=1e6, output=1e6)  # one for each token
    asked = [requests(1)[0].again(n) for n in range(1, 41)]
    each = price.at_most(asked[0])
    with ChatServer(usage=usage) as server:
        meter = Meter(price, Budget(limit=each * 12.5))
        with pytest.raises(FspoError, match="is used up"):
            ask(endpoint(server, meter=meter), asked)
    assert len(server.answered) == server.requests == 12
    assert meter.budget.spent == pytest.approx(12 * each)
    assert capsys.readouterr().err.count("does not say how many tokens it used") == 1


@pytest.mark.parametrize("told", [{"prompt_tokens": 9, "completion_tokens": 0}, ABSENT])
def test_a_reply_that_cannot_be_used_is_paid_for_if_the_server_wrote_one(told):
    with ChatServer(faults=("choiceless",), every=1, usage=told) as server:
        meter = Meter(Price(input=1e6), Budget())
        with pytest.raises(FspoError, match="no answer after 1 tries"):
            ask(endpoint(server, tries=1, meter=meter), requests(1))
    most = meter.price.at_most(requests(1)[0])
    assert meter.budget.spent == meter.budget.lost == (most if told is ABSENT else 9)
    assert meter.requests == 0


def test_what_was_answered_before_a_fault_for_good_is_kept(tmp_path):
    store = Store(tmp_path / "replies.sqlite")
    with ChatServer(latency=0.01, faults=("500",), every=10) as server:
        model = CachedModel(endpoint(server, tries=1, concurrency=2), store)
        with pytest.raises(FspoError, match="no answer after 1 tries"):
            ask(model, requests(40))
        assert len(store) == sum(server.answered.values()) >= 9


CHOICE = Request((("user", "A or B?"),), 1, choices=("A", "B"))


def test_a_choice_is_answered_by_probability():
    with ChatServer() as server:
        [reply] = ask(endpoint(server), [CHOICE])
    assert reply.probabilities == pytest.approx((0.7 / 0.9, 0.2 / 0.9))


@pytest.mark.parametrize("settings", [{"logprobs": False}, {"refuses": ("logprobs",)}])
def test_a_server_without_log_probs_is_asked_for_the_answer_alone(settings):
    with ChatServer(**settings) as server:
        model = endpoint(server)
        replies = ask(model, [CHOICE, CHOICE.again(1)])
        assert [reply.probabilities for reply in replies] == [(), ()]
        assert all(len(reply.text) == 12 for reply in replies)
        before = server.requests
        ask(model, [CHOICE.again(2)])
        assert server.requests == before + 1


def test_a_schema_is_passed_to_the_server():
    schema = {"type": "object"}
    with ChatServer() as server:
        ask(endpoint(server), [Request((("user", "x"),), 5, schema=json.dumps(schema))])
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema


def test_what_a_server_refuses_by_name_is_left_out():
    with ChatServer(refuses=("max_tokens", "response_format")) as server:
        model = endpoint(server)
        ask(model, [Request((("user", "x"),), 5, schema="{}")])
        before = server.requests
        ask(model, [Request((("user", "y"),), 5, schema="{}")])
        assert server.requests == before + 1
    assert server.bodies[-1]["max_completion_tokens"] == 5
    assert "response_format" not in server.bodies[-1]


def test_half_a_character_is_replaced():
    with ChatServer(text=lambda messages, seed: "half \ud800 and whole 🙂") as server:
        [reply] = ask(endpoint(server), requests(1))
    assert reply.text == "half \ufffd and whole 🙂"


def test_any_other_refusal_is_told():
    with (
        ChatServer(refuses=("messages",)) as server,
        pytest.raises(FspoError, match=r"does not accept the request.*'messages'"),
    ):
        ask(endpoint(server), requests(2))


def test_stopping_in_the_middle_leaves_nothing_behind():
    with ChatServer(latency=0.05) as server:
        stream = endpoint(server, concurrency=4).answer(requests(100))
        next(stream)
        began = time.monotonic()
        stream.close()
        assert time.monotonic() - began < 2
        time.sleep(0.2)
        assert server.busy == 0
        assert server.requests < 30
