"""Keys that are revoked: what was signed in to with them ends, and opens nobody else's profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretend_backend import PretendBackend
from starlette.testclient import TestClient

from fspo.assistant.app import create_app
from fspo.assistant.callers import COOKIE
from fspo.assistant.keys import add_key, revoke_key
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
