"""Keys that are revoked: what was signed in to with them ends, and opens nobody else's profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pretend_backend import PretendBackend
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.callers import COOKIE
from fspo.assistant.keys import add_key, revoke_key
from fspo.errors import FspoError
from fspo.web.database import Database, open_database

CHOICE = {"prompt": "q", "chosen": "yes", "rejected": "no"}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(str(tmp_path / "a.db"))


def browser(database: Database, key: str = "") -> TestClient:
    client = TestClient(create_app(PretendBackend(), database), "http://127.0.0.1")
    if key:
        client.post("/login", data={"key": key})
        assert COOKIE in client.cookies
    return client


def own_page(client: TestClient) -> str:
    """Whose page a browser is shown; "" where it has to sign in."""
    page = client.get("/").text
    client.headers["X-CSRF-Token"] = page.partition('name="csrf" content="')[2].partition('"')[0]
    return page.partition("profile: ")[2].partition("<")[0].strip()


@pytest.mark.parametrize("later", [1, 3])
def test_a_revoked_keys_cookie_opens_no_other_profile(database: Database, later: int) -> None:
    ann = browser(database, add_key(database, "ann", user="ann"))
    assert own_page(ann).startswith("ann")
    revoke_key(database, "ann")
    keys = [add_key(database, f"bob {n}", user="bob") for n in range(later)]
    bob = browser(database, keys[0])
    assert own_page(bob).startswith("bob")
    bob.post("/v1/preferences", json=CHOICE).raise_for_status()
    assert own_page(ann) == ""
    assert ann.get("/v1/profile").status_code == 401
    # The same name and account again is another key, too.
    add_key(database, "ann", user="ann")
    assert own_page(ann) == ""


def test_revoking_a_key_ends_its_sign_ins_and_no_others(database: Database) -> None:
    key, other = add_key(database, "ann", user="ann"), add_key(database, "bob", user="bob")
    anns, bob = [browser(database, key) for _ in range(3)], browser(database, other)
    revoke_key(database, "ann")
    assert [own_page(client) for client in anns] == ["", "", ""]
    assert own_page(bob).startswith("bob")
    assert browser(database).post("/login", data={"key": key}).status_code == 401


def statuses(client: TestClient, **headers: str) -> set[int]:
    """What each way to read somebody's texts, or to write them, is answered with."""
    asked = {"model": "fspo", "messages": [{"role": "user", "content": "q"}], "user": "u"}
    own = {**headers}
    return {
        client.get("/v1/models", headers=own).status_code,
        client.get("/v1/profile", headers=own).status_code,
        client.get("/v1/preferences?user=u", headers=own).status_code,
        client.post("/v1/preferences", json=CHOICE, headers=own).status_code,
        client.post("/v1/chat/completions", json=asked, headers=own).status_code,
        client.delete("/v1/profile?user=u", headers=own).status_code,
    }


@pytest.mark.parametrize("began_with_one", [True, False])
def test_revoking_the_last_key_opens_nothing(database: Database, began_with_one: bool) -> None:
    key = add_key(database, "k") if began_with_one else ""
    client = browser(database)
    assert statuses(client) == ({401} if began_with_one else {200})
    key = key or add_key(database, "k")
    assert statuses(client, Authorization=f"Bearer {key}") & {200}
    revoke_key(database, "k")
    elsewhere = {"Host": "evil.example", "Origin": "http://evil.example"}
    ways = [{}, {"Authorization": f"Bearer {key}"}, {"Authorization": "Bearer x"}]
    for headers in ways + ([elsewhere] if began_with_one else []):
        assert statuses(client, **headers) == {401}
    assert own_page(client) == ""


def test_a_key_that_is_revoked_while_the_model_loads_opens_nothing(database: Database) -> None:
    app = create_app(PretendBackend(), database, needs_keys=True)
    assert statuses(TestClient(app, "http://203.0.113.1")) == {401}


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://before.the.proxy"}, True),
        ({"Origin": "http://127.0.0.1"}, True),
    ],
)
def test_a_form_of_another_site_signs_nobody_in(
    database: Database, headers: dict[str, str], taken: bool
) -> None:
    client, key = browser(database), add_key(database, "k")
    entered = client.post("/login", data={"key": key}, headers=headers, follow_redirects=False)
    assert (COOKIE in client.cookies) == taken
    assert entered.status_code == (303 if taken else 403)


def test_no_key_reaches_by_its_name_what_was_stored_without_keys(database: Database) -> None:
    here = browser(database)
    here.post("/v1/preferences", json=CHOICE).raise_for_status()
    with pytest.raises(FspoError, match="what was stored without keys"):
        add_key(database, "local")
    client = TestClient(create_app(PretendBackend(), database), "http://127.0.0.1")
    for name, account, reaches in (("local", "mine", 0), ("LOCAL", "", 0), ("k", "local", 1)):
        key = add_key(database, name, account, user="me")
        read = client.get("/v1/preferences", headers={"Authorization": f"Bearer {key}"}).json()
        assert len(read["data"]) == reaches


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/profile", {"user": "bob"}),
        ("DELETE", "/v1/profile?user=me", {"user": "bob"}),
        ("DELETE", "/v1/preferences/x", {"user": "bob"}),
        ("GET", "/v1/profile", {"user": "bob"}),
        ("GET", "/v1/preferences", {"user": "bob"}),
        ("POST", "/v1/preferences?user=bob", CHOICE),
        ("PATCH", "/v1/profile?user=bob", {"description": "d"}),
        ("POST", "/v1/chat/completions?user=bob",
         {"model": "fspo", "messages": [{"role": "user", "content": "q"}]}),
        ("DELETE", "/v1/profile?user=bob&user=me", None),
        ("GET", "/v1/profile?user=bob&user=me", None),
        ("PUT", "/v1/profile", {"format": "fspo-profile", "version": 1, "user": 4}),
    ],
)  # fmt: skip
def test_a_user_who_is_named_where_nobody_looks_is_refused(
    database: Database, method: str, path: str, body: Any
) -> None:
    client = browser(database)
    for user in ("me", "bob"):
        client.post("/v1/preferences", json=CHOICE | {"user": user}).raise_for_status()
    before = [client.get(f"/v1/profile?user={user}").json() for user in ("me", "bob")]
    refused = client.request(method, path, json=body)
    assert refused.status_code == 400
    assert [client.get(f"/v1/profile?user={user}").json() for user in ("me", "bob")] == before


def test_an_exported_profile_comes_back_to_whom_it_names(database: Database) -> None:
    client = browser(database)
    client.post("/v1/preferences", json=CHOICE | {"user": "bob"}).raise_for_status()
    client.post("/v1/preferences", json=CHOICE | {"prompt": "mine"}).raise_for_status()
    bobs, mine = client.get("/v1/profile?user=bob").json(), client.get("/v1/profile").json()
    assert client.put("/v1/profile", json=bobs).json()["user"] == "bob"
    assert client.get("/v1/profile").json() == mine
    assert client.put("/v1/profile?user=eve", json=bobs).json()["user"] == "eve"  # as was said
    key = add_key(database, "ann", user="ann")
    own = {"Authorization": f"Bearer {key}"}
    assert client.put("/v1/profile", json=bobs, headers=own).status_code == 403
    nameless = {name: value for name, value in bobs.items() if name != "user"}
    assert client.put("/v1/profile", json=nameless, headers=own).json()["user"] == "ann"
    assert client.put("/v1/profile?user=ann", json=bobs, headers=own).json()["user"] == "ann"
