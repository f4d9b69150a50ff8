"""The assistant's interface: the official client, other people's profiles, and hostile requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pretend_backend import BREAKS, PretendBackend
from servers import running
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.callers import COOKIE
from fspo.assistant.keys import SCOPES, add_key, list_keys, revoke_key
from fspo.errors import FspoError
from fspo.preferences.records import Preference
from fspo.web.database import Database, open_database

POOL = [Preference(f"question {n}", f"good {n}", f"bad {n}") for n in range(3)]
CHOICE = {"prompt": "q", "chosen": "yes", "rejected": "no"}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(str(tmp_path / "assistant.db"))


@pytest.fixture
def backend() -> PretendBackend:
    return PretendBackend()


def client_of(
    database: Database, backend: PretendBackend, key: str = "", **settings: Any
) -> TestClient:
    app = create_app(backend, database, POOL, **settings)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(app, "http://127.0.0.1", headers=headers)


@pytest.fixture
def here(database: Database, backend: PretendBackend) -> TestClient:
    """Without keys, on this machine."""
    return client_of(database, backend)


@pytest.fixture
def served(database: Database, backend: PretendBackend) -> Iterator[str]:
    """A real server, for a real client: its address."""
    with running(create_app(backend, database, POOL)) as address:
        yield f"{address}/v1"


def test_the_official_client_works_against_it(served: str, database: Database) -> None:
    key = add_key(database, "app")
    client = openai.OpenAI(base_url=served, api_key=key, max_retries=0)
    assert [model.id for model in client.models.list()] == ["fspo", "fspo-plain"]
    asked: dict[str, Any] = {
        "model": "fspo",
        "messages": [{"role": "user", "content": "héllo"}],
        "user": "u1",
    }
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "héllo||"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (7, 7)
    cut = client.chat.completions.create(**asked, max_completion_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("hél", "length")
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    events = list(stream)
    said = [event.choices[0].delta.content or "" for event in events if event.choices]
    assert "".join(said) == "héllo||"
    assert events[-2].choices[0].finish_reason == "stop"
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 7
    plain = client.chat.completions.create(**asked | {"model": "fspo-plain"})
    assert plain.choices[0].message.content == "plain: héllo"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'"):
        client.chat.completions.create(**asked | {"model": "gpt"})
    wrong = openai.OpenAI(base_url=served, api_key="fspo-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="not known"):
        wrong.models.list()


def test_a_stream_that_is_left_is_stopped(served: str, backend: PretendBackend) -> None:
    client = openai.OpenAI(base_url=served, api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "x" * 200_00}]
    stream = client.chat.completions.create(
        model="fspo", messages=messages, stream=True, max_tokens=90_000
    )
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 10
    while not backend.closed and time.monotonic() < until:
        time.sleep(0.02)
    assert backend.closed == 1


def test_an_answer_that_breaks_off_says_so(served: str) -> None:
    client = openai.OpenAI(base_url=served, api_key="none", max_retries=0)

    def stream(text: str) -> list[str]:
        messages: Any = [{"role": "user", "content": text}]
        events = client.chat.completions.create(model="fspo", messages=messages, stream=True)
        return [event.choices[0].delta.content or "" for event in events]

    with pytest.raises(openai.APIError, match="the model is gone"):
        stream("ab" + BREAKS)
    with pytest.raises(openai.BadRequestError, match="the model is gone"):
        stream(BREAKS)  # before anything was said it is a plain error


def test_a_choice_changes_the_next_answer_and_the_description(here: TestClient) -> None:
    asked = {"model": "fspo", "messages": [{"role": "user", "content": "q"}]}

    def said() -> str:
        answer = here.post("/v1/chat/completions", json=asked).json()
        return str(answer["choices"][0]["message"]["content"])

    assert said() == "q||"
    here.post("/v1/preferences", json=CHOICE).raise_for_status()
    assert said() == "q|yes|somebody after 1 choices"
    here.post("/v1/preferences", json=CHOICE | {"prompt": "r"})
    assert said() == "q|yes|somebody after 2 choices"
    assert here.get("/v1/profile").json()["described_by"] == "model"
    here.patch("/v1/profile", json={"description": "a poet"})
    here.post("/v1/preferences", json=CHOICE | {"prompt": "s"})
    assert said() == "q|yes|a poet"  # a person's words stay
    here.patch("/v1/profile", json={"description": ""})
    assert here.get("/v1/profile").json()["description"] == "somebody after 3 choices"


def test_a_contradiction_supersedes_and_taking_it_back_restores(here: TestClient) -> None:
    first = here.post("/v1/preferences", json=CHOICE).json()
    again = here.post("/v1/preferences", json=CHOICE).json()
    assert again["id"] == first["id"]
    turned = CHOICE | {"chosen": "no", "rejected": "yes"}
    second = here.post("/v1/preferences", json=turned).json()
    assert second["supersedes"]["id"] == first["id"]
    rows = here.get("/v1/preferences").json()["data"]
    assert [(row["chosen"], row["superseded_by"]) for row in rows] == [
        ("yes", second["id"]),
        ("no", None),
    ]
    third = here.post("/v1/preferences", json=CHOICE).json()
    assert third["supersedes"]["id"] == second["id"]
    for row, left in ((third, ["no"]), (second, ["yes"]), (first, [])):
        assert here.delete(f"/v1/preferences/{row['id']}").json()["deleted"]
        rows = here.get("/v1/preferences").json()["data"]
        assert [row["chosen"] for row in rows if row["superseded_by"] is None] == left


def test_pairs_leave_out_what_was_answered(here: TestClient) -> None:
    seen = set()
    for _ in POOL:
        pair = here.post("/v1/pairs", json={}).json()
        assert pair["chosen_by"] == ("gain" if seen else "chance")
        seen.add(pair["prompt"])
        chosen, rejected = pair["answers"]
        made = {"prompt": pair["prompt"], "chosen": chosen, "rejected": rejected}
        here.post("/v1/preferences", json=made).raise_for_status()
    assert seen == {pair.prompt for pair in POOL}
    assert here.post("/v1/pairs", json={}).status_code == 404
    here.delete("/v1/profile")
    last = here.post("/v1/pairs", json={}).json()
    shown = {key: last[key] for key in ("prompt", "answers")}
    assert here.post("/v1/pairs", json={"besides": shown}).json()["prompt"] != last["prompt"]
    own = here.post("/v1/pairs", json={"prompt": "mine"}).json()
    assert own["prompt"] == "mine"
    assert "plain: mine" in own["answers"]


def test_ranking_is_by_reward(here: TestClient) -> None:
    ranked = here.post("/v1/rank", json={"prompt": "q", "answers": ["a", "ccc", "bb"]}).json()
    assert [row["index"] for row in ranked["data"]] == [1, 2, 0]


Ask = Callable[[TestClient, str, str], Any]
ASKS: dict[str, Ask] = {
    "read": lambda c, user, _: c.get("/v1/profile", params={"user": user}),
    "choices": lambda c, user, _: c.get("/v1/preferences", params={"user": user}),
    "choose": lambda c, user, _: c.post("/v1/preferences", json=CHOICE | {"user": user}),
    "describe": lambda c, user, _: c.patch("/v1/profile", json={"description": "x", "user": user}),
    "replace": lambda c, user, _: c.put(
        "/v1/profile", json={"format": "fspo-profile", "version": 1}, params={"user": user}
    ),
    "delete": lambda c, user, _: c.delete("/v1/profile", params={"user": user}),
    "withdraw": lambda c, user, choice: c.delete(
        f"/v1/preferences/{choice}", params={"user": user}
    ),
    "rank": lambda c, user, _: c.post(
        "/v1/rank", json={"prompt": "q", "answers": ["a", "b"], "user": user}
    ),
    "pair": lambda c, user, _: c.post("/v1/pairs", json={"user": user}),
    "chat": lambda c, user, _: c.post(
        "/v1/chat/completions",
        json={"model": "fspo", "messages": [{"role": "user", "content": "q"}], "user": user},
    ),
}


@pytest.mark.parametrize("what", ASKS)
def test_nobody_reaches_another_persons_profile(
    what: str, database: Database, backend: PretendBackend
) -> None:
    """Neither a key that is bound to another user, nor another application's."""
    mine = add_key(database, "mine", account="shop", user="ann")
    client = client_of(database, backend, mine)
    choice = client.post("/v1/preferences", json=CHOICE | {"prompt": "secret"}).json()["id"]
    before = client.get("/v1/profile").json()
    neighbor = client_of(database, backend, add_key(database, "n", account="shop", user="bob"))
    answer = ASKS[what](neighbor, "ann", choice)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "wrong_user"
    stranger = client_of(database, backend, add_key(database, "other application"))
    answer = ASKS[what](stranger, "ann", choice)  # another ann, of that application
    assert "secret" not in answer.text
    assert client.get("/v1/profile").json() == before
    assert not any(person.shots for person in backend.seen)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_does_what_its_scopes_say(
    scope: str, database: Database, backend: PretendBackend
) -> None:
    client = client_of(database, backend, add_key(database, "k", user="u", scopes=[scope]))
    needs = {
        "chat": "chat",
        "rank": "rank",
        "read": "profile",
        "describe": "profile",
        "replace": "profile",
        "choices": "preferences",
        "choose": "preferences",
        "pair": "preferences",
        "delete": "profile",
    }
    for what, needed in needs.items():
        status = ASKS[what](client, "u", "").status_code
        assert status == (200 if needed == scope else 403), what


def test_keys_are_kept_as_hashes_and_revoked_at_once(
    database: Database, backend: PretendBackend, tmp_path: Path
) -> None:
    key = add_key(database, "k")
    client = client_of(database, backend, key)
    assert client.get("/v1/models").status_code == 200
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("assistant.db*"))
    assert key.encode() not in stored
    assert list_keys(database)[0]["last_used"] is not None
    for wrong in ("k", ""):
        with pytest.raises(FspoError):
            add_key(database, wrong)
    with pytest.raises(FspoError, match="no scope 'all'"):
        add_key(database, "l", scopes=["all"])
    revoke_key(database, "k")
    add_key(database, "another")
    assert client.get("/v1/models").status_code == 401
    with pytest.raises(FspoError, match="no key 'k'"):
        revoke_key(database, "k")


def test_without_keys_other_sites_and_other_names_are_refused(here: TestClient) -> None:
    crossing = here.post("/v1/preferences", json=CHOICE, headers={"Origin": "http://evil.example"})
    assert crossing.status_code == 403
    assert here.get("/v1/profile", headers={"Host": "evil.example"}).status_code == 400
    own = here.post("/v1/preferences", json=CHOICE, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 200


def test_signing_in_takes_a_key_and_forms_take_their_token(
    database: Database, backend: PretendBackend
) -> None:
    key = add_key(database, "ann's", user="ann")
    client = client_of(database, backend)
    assert client.get("/", follow_redirects=False).headers["location"] == "/login"
    assert client.post("/login", data={"key": "wrong"}).status_code == 401
    entered = client.post("/login", data={"key": key}, follow_redirects=False)
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    page = client.get("/").text
    assert "profile: ann" in page
    token = page.partition('name="csrf" content="')[2].partition('"')[0]
    assert client.post("/v1/preferences", json=CHOICE).status_code == 403
    kept = client.post("/v1/preferences", json=CHOICE, headers={"X-CSRF-Token": token})
    assert kept.status_code == 200
    session = client.cookies[COOKIE]
    client.post("/logout", data={"csrf": token})
    client.cookies.set(COOKIE, session)
    assert client.get("/v1/profile", headers={"X-CSRF-Token": token}).status_code == 401


def test_on_the_page_a_key_for_many_is_one_users(
    database: Database, backend: PretendBackend
) -> None:
    client = client_of(database, backend)
    page = client.post("/login", data={"key": add_key(database, "shop")}).text
    assert "profile: me" in page
    token = page.partition('name="csrf" content="')[2].partition('"')[0]
    headers = {"X-CSRF-Token": token}
    assert client.post("/v1/preferences", json=CHOICE, headers=headers).status_code == 200
    other = client.post("/v1/preferences", json=CHOICE | {"user": "ann"}, headers=headers)
    assert other.status_code == 403


def test_over_tls_the_cookie_is_secure(database: Database, backend: PretendBackend) -> None:
    key = add_key(database, "k")
    client = TestClient(create_app(backend, database), "https://127.0.0.1")
    entered = client.post("/login", data={"key": key}, follow_redirects=False)
    assert "secure" in entered.headers["set-cookie"].lower()
    assert "strict-transport-security" in entered.headers


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/login", "/v1/models", "/nothing", "/static/web/style.css"]
)
def test_every_response_has_the_guards_headers(here: TestClient, path: str) -> None:
    headers = here.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_requests_that_are_too_long_or_too_many_are_refused(
    database: Database, backend: PretendBackend
) -> None:
    client = client_of(database, backend, requests_a_minute=5)
    big = client.post("/v1/preferences", content=b"x" * 2_000_001)
    assert big.status_code == 413

    parts = (b"x" * 65536 for _ in range(40))  # and no length is said
    assert client.post("/v1/preferences", content=parts).status_code == 413
    codes = [client.get("/v1/models").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert int(client.get("/v1/models").headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "model"),
        ({"model": "fspo", "messages": []}, "messages"),
        ({"model": "fspo", "messages": [{"role": "judge", "content": ""}]}, "messages.0.role"),
        ({"model": "fspo", "messages": [{"role": "user", "content": "q"}], "n": 2}, "n"),
        ({"model": "fspo", "messages": [{"role": "user", "content": "q"}], "top_p": 7}, "top_p"),
    ],
)
def test_a_wrong_request_is_told_which_field(
    here: TestClient, body: dict[str, Any], told: str
) -> None:
    answer = here.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{told}: ")


@pytest.mark.parametrize(
    "made",
    [
        CHOICE | {"chosen": "no"},
        CHOICE | {"chosen": " "},
        CHOICE | {"prompt": "x" * 20_001},
        CHOICE | {"chosen": "a\x00b"},
        CHOICE | {"user": ""},
    ],
)
def test_what_cannot_be_kept_is_refused(here: TestClient, made: dict[str, str]) -> None:
    assert here.post("/v1/preferences", json=made).status_code == 400
    assert here.get("/v1/preferences").json()["data"] == []


HOSTILE = "<script>alert(1)</script>{{ 7*7 }}</title>\r\nX: y\u202e'\"&"


def test_hostile_texts_come_out_as_they_went_in(
    database: Database, backend: PretendBackend
) -> None:
    client = client_of(database, backend, add_key(database, "k", user=HOSTILE))
    client.post("/v1/preferences", json={k: v + HOSTILE for k, v in CHOICE.items()})
    client.patch("/v1/profile", json={"description": HOSTILE})
    kept = client.get("/v1/profile").json()
    assert kept["description"] == HOSTILE
    assert kept["choices"][0]["chosen"] == "yes" + HOSTILE
    key = add_key(database, "k2", user=HOSTILE)
    page = client.post("/login", data={"key": key}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7*7 }}" in page
