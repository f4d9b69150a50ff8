"""Servers that are nobody's in particular: each form of refusal, whatever it is that is refused."""

import json
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from chat_server import ChatServer, endpoint, requests
from hypothesis import given
from hypothesis import strategies as st
from server_manners import ANSWER_WITHHELD, PROMPT_REFUSED, SETTING_REFUSED

from fspo.assistant.backend import Person
from fspo.assistant.remote import RemoteBackend
from fspo.errors import FspoError
from fspo.judging.model_judge import ModelJudge
from fspo.judging.verdicts import Comparison
from fspo.llm.asking import ask_readable
from fspo.llm.endpoint import Endpoint
from fspo.llm.faults import fault_of, without_key
from fspo.llm.meter import Budget, Meter, Price
from fspo.llm.pace import Pace
from fspo.llm.requests import Reply, Request, ask, reply_of
from fspo.llm.sampling import Sampling
from fspo.llm.store import CachedModel, Store
from fspo.llm.thinking import spoken, without_thinking
from fspo.preferences.records import User

ASKED = ("temperature", "top_p", "seed", "response_format", "max_tokens", "logprobs")
SAID = ("temperature", "top_p", "seed", "stop", "stream_options", "max_tokens")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("fspo.llm.endpoint.FIRST_WAIT", 0.01)


def whole(number: int) -> Request:
    """A request that has every setting."""
    text = (("user", f"number {number}"),)
    return Request(text, 20, 0.7, 0.9, number, choices=("A", "B"), schema='{"type": "object"}')


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("form", SETTING_REFUSED)
def test_a_setting_that_is_refused_in_any_form_is_left_out_once(form, name, capsys):
    with ChatServer(refuses=(name,), form=SETTING_REFUSED[form]) as server:
        model = endpoint(server, concurrency=1)
        ask(model, [whole(0)])
        ask(model, [whole(n) for n in range(1, 4)])
    assert server.requests == 5
    assert all(name not in body for body in server.bodies[1:])
    left = {"max_tokens": {"max_completion_tokens"}, "logprobs": set()}.get(name, set())
    gone = {name} | ({"top_logprobs"} if name == "logprobs" else set())
    assert server.bodies[-1].keys() == (server.bodies[0].keys() - gone) | left
    assert capsys.readouterr().err.count(f"refuses the setting {name};") == 1


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("form", SETTING_REFUSED)
def test_the_assistant_leaves_out_what_is_refused_in_any_form(form, name):
    sampling = Sampling(20, 0.7, 0.9, ["END"], 5)
    asked = [{"role": "user", "content": "what?"}]
    with ChatServer(refuses=(name,), form=SETTING_REFUSED[form]) as server:
        backend = RemoteBackend(server.url, "m", "secret-key")
        backend._client.max_retries = 0
        for _ in range(2):
            assert len("".join(backend.plain(asked, sampling).pieces)) == 12
    assert server.requests == 3
    assert name not in server.bodies[-1]


def test_of_two_settings_that_do_not_go_together_one_is_left_out():
    def manner(body):
        told = "temperature and top_p cannot both be given"
        both = {"temperature", "top_p"} <= body.keys()
        return (400, {"error": {"message": told}}) if both else None

    with ChatServer(manner=manner) as server:
        ask(endpoint(server), requests(3))
    assert "temperature" in server.bodies[-1]


def test_a_server_that_takes_hardly_anything_is_still_asked():
    with ChatServer(refuses=(*ASKED, "max_completion_tokens")) as server:
        model = endpoint(server, concurrency=1)
        ask(model, [whole(0)])
        ask(model, [whole(1)])
    assert server.bodies[-1].keys() == {"model", "messages"}
    assert server.requests == 9


def test_a_value_out_of_bounds_says_nothing_of_other_values():
    def manner(body):
        told = "temperature must be between 0 and 1"
        return (400, {"error": {"message": told}}) if body.get("temperature", 0) > 1 else None

    with ChatServer(manner=manner) as server:
        model = endpoint(server, concurrency=1)
        for temperature in (1.5, 0.5, 1.5):
            ask(model, [Request((("user", f"{temperature}"),), 5, temperature)])
    assert [body.get("temperature") for body in server.bodies] == [1.5, None, 0.5, None]


def test_what_is_not_helped_by_leaving_something_out_is_not_left_out():
    def manner(body):
        bad = "5" in body["messages"][-1]["content"]
        return (400, "I will not tell the temperature") if bad else None

    with ChatServer(manner=manner) as server:
        replies = ask(endpoint(server, concurrency=1), requests(10))
    assert [bool(reply.refused) for reply in replies] == [n == 5 for n in range(10)]
    assert "temperature" in server.bodies[-1]


def numbered(messages) -> int:
    return int(messages[-1]["content"].split()[-1])


def check_refused(server, tmp_path, told):
    """Some of thirty are refused, counted, kept with a reason, and never asked about again."""
    bad = [n for n in range(30) if n % 7 == 0]
    store = Store(tmp_path / "replies.sqlite")
    for _ in range(2):
        budget = Budget(limit=1e9)
        meter = Meter(Price(output=1e6), budget)
        model = CachedModel(endpoint(server, meter=meter, concurrency=2), store, budget)
        found = ask_readable(model, requests(30), lambda text: text or None, 3)
        assert [n for n, (text, _) in enumerate(found) if text is None] == bad
        assert all(told in found[n][1].refused for n in bad)
        assert sum(budget.refusals().values()) == len(bad)
        assert budget.reserved == pytest.approx(0)
    assert len(store) == 30
    assert max(server.asked.values()) == 1


@pytest.mark.parametrize("form", PROMPT_REFUSED)
def test_a_refused_prompt_is_its_own_and_the_run_goes_on(form, tmp_path):
    status, body = PROMPT_REFUSED[form]
    with ChatServer(
        manner=lambda b: (status, body) if numbered(b["messages"]) % 7 == 0 else None
    ) as server:
        check_refused(server, tmp_path, "")


@pytest.mark.parametrize("form", ANSWER_WITHHELD)
def test_an_answer_that_is_withheld_is_no_answer(form, tmp_path):
    fields = dict(ANSWER_WITHHELD[form])
    finish = fields.pop("finish")
    with ChatServer(
        text=lambda m, seed: fields if numbered(m) % 7 == 0 else "fine",
        finish=lambda m: finish if numbered(m) % 7 == 0 else "stop",
    ) as server:
        check_refused(server, tmp_path, fields.get("refusal") or finish.lower())


@pytest.mark.parametrize("form", PROMPT_REFUSED)
@pytest.mark.parametrize("count", [6, 200])
def test_a_server_that_refuses_everything_ends_the_run_at_once_and_nothing_is_kept(
    form, count, tmp_path
):
    store = Store(tmp_path / "replies.sqlite")
    with ChatServer(manner=lambda body: PROMPT_REFUSED[form]) as server:
        model = CachedModel(endpoint(server, concurrency=2), store)
        with pytest.raises(FspoError, match="requests were refused"):
            ask(model, requests(count))
    assert len(store) == 0
    assert server.requests <= 30


def test_a_large_share_of_refusals_ends_the_run():
    with ChatServer(  # noqa: SIM117
        manner=lambda b: PROMPT_REFUSED["azure"] if numbered(b["messages"]) % 5 else None
    ) as server:
        with pytest.raises(FspoError, match=r"content management.*of \d+ requests were refused"):
            ask(endpoint(server, concurrency=2), requests(500))
    assert server.requests < 100


def test_refusals_of_one_question_in_a_row_do_not_end_a_run():
    with ChatServer(
        manner=lambda b: PROMPT_REFUSED["azure"] if 50 <= numbered(b["messages"]) < 90 else None
    ) as server:
        replies = ask(endpoint(server, concurrency=1), requests(120))
    assert sum(bool(reply.refused) for reply in replies) == 40


def test_a_judge_that_refuses_an_item_judges_the_others(tmp_path):
    user = User("u", description="likes tea")
    items = [Comparison(user, f"prompt {n}", f"one {n}", f"other {n}") for n in range(10)]
    with ChatServer(
        manner=lambda b: PROMPT_REFUSED["azure"] if "prompt 3" in str(b["messages"]) else None
    ) as server:
        budget = Budget()
        model = CachedModel(endpoint(server), Store(tmp_path / "verdicts.sqlite"), budget)
        judged = ModelJudge(model).judge(items)
    assert [verdict.malformed for verdict in judged] == [n == 3 for n in range(10)]
    assert sum(budget.refusals().values()) == 2  # in both orders


@pytest.mark.parametrize("limit", [50, 150])
def test_a_server_that_limits_requests_a_second_answers_all(limit):
    with ChatServer(limit=limit, retry_after=None) as server:
        began = time.monotonic()
        replies = ask(endpoint(server), requests(3 * limit))
        took = time.monotonic() - began
    assert len({reply.text for reply in replies}) == 3 * limit
    assert took < 12
    assert server.requests < 5 * limit


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 64))
def test_refusals_make_it_slower_and_answers_faster_within_bounds(answers, most):
    pace, now = Pace(most), 100.0
    for goes_well in answers:
        now += max(0.01, pace.wait(now))
        pace.start(now)
        before = (pace.places, pace.rate or 1e9)
        if goes_well:
            pace.went_well()
            assert pace.places >= before[0]
            assert pace.rate is None or pace.rate >= before[1]
        else:
            pace.refused(now, now, 0.0)
            assert pace.places < before[0] or pace.places == 1
            assert pace.rate < before[1] or pace.rate == pytest.approx(1 / 30)
        assert 1 <= pace.places <= most


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("1", 1.0, 5.0), (lambda: _date(3), 1.0, 6.0), ("99999", 0.5, 5.0), ("-3", 0.0, 3.0),
     ("soon", 0.0, 3.0), ("nan", 0.0, 3.0)],
)  # fmt: skip
def test_what_a_server_asks_to_wait_is_waited_up_to_a_limit(status, told, least, most, monkeypatch):
    monkeypatch.setattr("fspo.llm.endpoint.LONGEST_WAIT", 2.5 if callable(told) else 1.0)
    if status == 503 and told in ("soon", "nan"):
        return  # a fault like any other
    refused = iter([True])
    with ChatServer(
        manner=lambda body: (status, "later") if next(refused, False) else None,
        retry_after=told() if callable(told) else told,
    ) as server:
        began = time.monotonic()
        ask(endpoint(server, tries=1), requests(2))
        took = time.monotonic() - began
    assert least <= took < most


def test_a_server_that_only_says_slower_ends_a_run_after_a_long_time(monkeypatch):
    monkeypatch.setattr("fspo.llm.endpoint.LONGEST_REFUSED", 1.2)
    with ChatServer(faults=("429",), every=1, retry_after=None) as server:
        began = time.monotonic()
        with pytest.raises(FspoError, match=r"only asked to slow down.*later"):
            ask(endpoint(server, tries=1), requests(3))
        assert 1.2 <= time.monotonic() - began < 10
        assert server.requests > 3


def test_money_that_has_run_out_is_no_limit_that_passes():
    quota = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    with ChatServer(manner=lambda body: (429, quota)) as server:  # noqa: SIM117
        with pytest.raises(FspoError, match=r"wants to be paid first.*exceeded your quota"):
            ask(endpoint(server), requests(3))


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, {"error": {"message": "Insufficient credits"}}, "Insufficient credits"),
        (200, {"error": {"message": "Insufficient credits", "code": 402}}, "paid first"),
        (402, {"error": {"message": "Insufficient credits"}}, "Insufficient credits"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "odd"}]}, r"body\.n: odd"),
        (307, "http://127.0.0.1:9/elsewhere", "sends elsewhere"),
        (500, "<html><h1>It broke</h1></html>", "It broke"),
        (400, "\x1b[31mred\x00", r"\[31mred"),
        (500, "[" * 100_000, "no answer"),
    ],
)
def test_faults_are_told_in_the_servers_words_on_one_line(status, body, told):
    with ChatServer(manner=lambda _: (status, body)) as server:  # noqa: SIM117
        with pytest.raises(FspoError, match=told) as raised:
            ask(endpoint(server, tries=2), requests(2))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:80/v1", "localhost/v1", "http://[::1", "http://host:abc/v1", "http://h:99999/v1",
     "http://", "", "ftp://host/v1", "http://a b/v1", "http://a\nb/v1", "file:///etc/passwd"],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(address):
    for make in (
        lambda: Endpoint("m", api_key="k", base_url=address),
        lambda: RemoteBackend(address, "m"),
    ):
        with pytest.raises(FspoError, match="is no address of a server") as raised:
            make()
        assert "\n" not in str(raised.value)


@given(st.text(max_size=6))
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(key):
    fine = key.isascii() and key.isprintable() and key == key.strip() and key != ""
    with nullcontext() if fine else pytest.raises(FspoError, match="the key cannot be sent"):
        Endpoint("m", api_key=key, base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTP_PROXY", "nonsense://x"), ("HTTPS_PROXY", "::"),
     ("SSL_CERT_FILE", "/none.pem")],
)  # fmt: skip
def test_what_keeps_a_client_from_being_made_is_one_line(setting, value, monkeypatch):
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(setting, value)
    for make in (
        lambda: ask(Endpoint("m", api_key="k", base_url="https://fspo.invalid/v1"), requests(1)),
        lambda: RemoteBackend("https://fspo.invalid/v1", "m"),
    ):
        with pytest.raises(FspoError, match=r"_PROXY|SSL_CERT_FILE") as raised:
            make()
        assert "\n" not in str(raised.value)
    with ChatServer() as server:  # on this machine there is nothing between
        assert len(ask(endpoint(server), requests(1))) == 1
        backend = RemoteBackend(server.url, "m", "secret-key")
        pieces = backend.plain([{"role": "user", "content": "hi"}], Sampling()).pieces
        assert "".join(pieces)


THOUGHTS = ["<think>A or B?</think>", "[THINK]hm[/THINK]\n", "<thinking>\nB</thinking>\n\n",
            "no mark at first\n</think>", "<|channel|>analysis<|message|>B<|end|><|start|>assistant"
            "<|channel|>final<|message|>", "<think></think><think>twice</think> "]  # fmt: skip


@pytest.mark.parametrize("thought", THOUGHTS)
def test_a_judge_that_thinks_first_is_read_behind_it(thought):
    user = User("u", description="likes tea")
    items = [Comparison(user, "why?", "short", "long"), Comparison(user, "how?", "one", "two")]
    with ChatServer(logprobs=False, text=lambda m, seed: f"{thought}A") as server:
        judged = ModelJudge(endpoint(server)).judge(items)
    assert not any(verdict.malformed for verdict in judged)


@given(st.sampled_from(THOUGHTS), st.text("ab <>/[]\n", max_size=20))
def test_thinking_is_taken_off_and_what_follows_is_kept(thought, answer):
    taken = without_thinking(thought + answer)
    assert "</think>" in answer or taken == answer.lstrip()
    assert without_thinking(f"So: {answer}") == f"So: {answer}" or "</think>" in answer


@given(
    st.sampled_from([t for t in THOUGHTS if t[0] in "<["] + ["", " \n"]),
    st.text("ab <think>/", max_size=30),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_a_stream_is_spoken_as_the_whole_is_whatever_its_pieces(thought, answer, cuts):
    text = thought + answer
    if "channel" in thought or "</think>" in answer:
        return
    ends = sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    pieces = [text[a:b] for a, b in pairwise(ends)]
    assert "".join(spoken(pieces)) == without_thinking(text)


def test_thinking_is_taken_off_in_linear_time():
    began = time.monotonic()
    for text in ("<think>" * 10**5, "<think></think>" * 10**5, " " * 10**6, "<" * 10**6):
        without_thinking(text)
        "".join(spoken(text[k : k + 10] for k in range(0, len(text), 10)))
    assert time.monotonic() - began < 10


def test_verdicts_that_say_nothing_are_said_aloud(capsys):
    user = User("u", description="likes tea")
    with ChatServer(logprobs=False, text=lambda m, seed: "Well\x1b[2J, both.") as server:
        judged = ModelJudge(endpoint(server)).judge([Comparison(user, "why?", "short", "long")])
    assert judged[0].malformed
    told = capsys.readouterr().err
    assert "2 of 2 verdicts are none of A, B" in told
    assert "\x1b" not in told


def test_an_answer_that_went_into_reasoning_is_said_once(capsys):
    fields = {"content": None, "reasoning_content": "let me see"}
    with ChatServer(text=lambda m, seed: fields, finish=lambda m: "length") as server:
        replies = ask(endpoint(server), requests(5))
        assert [reply.text for reply in replies] == [""] * 5
        assert capsys.readouterr().err.count("reached `max_tokens` before it began") == 1
        asked = [{"role": "user", "content": "hi"}]
        backend = RemoteBackend(server.url, "m", "secret-key")
        with pytest.raises(FspoError, match="reached max_tokens before it began"):
            list(backend.plain(asked, Sampling()).pieces)


def test_an_answer_in_parts_is_their_text():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi"}, {"text": "!"}]
    with ChatServer(text=lambda m, seed: {"content": parts}) as server:
        [reply] = ask(endpoint(server), requests(1))
    assert reply.text == "Hi!"


@given(st.text("ks-abcdefgh0123", max_size=30), st.text("ks-abcdefgh0123 ", max_size=60))
def test_no_part_of_a_key_is_shown_and_no_letter_is_taken_for_one(key, text):
    shown = without_key(text, key)
    if len(key) >= 8:
        assert not any(key[k : k + 8] in shown for k in range(len(key) - 7))
        assert without_key(f"bad {key[:6]}****{key[-4:]}!", key) == "bad [key]!"
    elif key not in text.split():
        words = [word for word in text.split() if word in shown.split()]
        assert key in text or words == text.split()
    assert without_key("it takes keys", "k") == "it takes keys"


def test_replies_that_were_kept_by_earlier_versions_are_read():
    assert reply_of(["a", "m", 1, 2, [0.5, 0.5]]) == Reply("a", "m", 1, 2, (0.5, 0.5))
    reply = Reply("", "m", refused="no")
    assert reply_of(json.loads(json.dumps(reply))) == reply


@pytest.mark.parametrize(
    ("fault", "status"),
    [("401", 502), ("404", 502), ("402", 502), ("429", 429), ("500", 502), ("502", 502),
     ("503", 503), ("529", 503), ("301", 502), ("400", 400), ("413", 400), ("451", 400),
     ("plain", 502), ("json", 502), ("down", 503)],
)  # fmt: skip
def test_whoever_asks_through_us_is_told_what_is_theirs_and_where_nothing_is(fault, status):
    told = "secret-key at {host}: sorry secr****-key"
    with ChatServer() as server:
        host = server.url.split("/")[2]
        if fault == "plain":
            server.manner = lambda body: (200, "not a stream")
        elif fault == "json":
            server.manner = lambda body: (200, {"choices": []})
        else:
            server.manner = lambda body: (
                int(fault),
                {"error": {"message": told.format(host=host)}},
            )
        url = "http://127.0.0.1:9/v1" if fault == "down" else server.url
        backend = RemoteBackend(url, "m", "secret-key")
        backend._client.max_retries = 0
        asked = [{"role": "user", "content": "hi"}]
        with pytest.raises(FspoError) as raised:
            list(backend.reply(Person("p"), asked, Sampling()).pieces)
    error = raised.value
    assert error.status == status
    for text in (error.public, error.logged, str(error)):
        assert "secret-key" not in text
        assert "****" not in text
    assert host not in error.public
    assert "127.0.0.1" not in error.public


def test_a_redirect_is_not_followed():
    with ChatServer() as other, ChatServer(manner=lambda b: (307, f"{other.url}/x")) as server:
        with pytest.raises(FspoError, match="sends elsewhere"):
            ask(endpoint(server), requests(1))
        backend = RemoteBackend(server.url, "m", "secret-key")
        with pytest.raises(FspoError, match="307"):
            list(backend.plain([{"role": "user", "content": "hi"}], Sampling()).pieces)
    assert other.requests == 0


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)
       | st.dictionaries(st.sampled_from(["error", "message", "detail", "loc", "code", "param"]),
                         inner), max_leaves=12))  # fmt: skip
def test_whatever_a_server_says_can_be_told(body):
    class Response:
        status_code, text, headers = 400, json.dumps(body), {}

    error = Exception("no")
    error.response = Response
    assert fault_of(error, "key").words.isprintable()
