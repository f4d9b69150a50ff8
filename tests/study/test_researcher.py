"""The researcher's pages: for researchers alone, with the right numbers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from fspo.errors import FspoError
from fspo.study.live import live
from fspo.study.records import read_records
from fspo.study.researcher import set_password
from fspo.study.visiting import Page
from fspo.web.database import now
from fspo.web.sessions import sign_in

PASSWORD = "long enough, this one"
INSIDE = ["/researcher", "/researcher/results"]


@pytest.fixture
def client(run):
    set_password(run.database, "ann", PASSWORD)
    return run.client()


@pytest.fixture
def ann(client):
    client.post("/researcher/login", data={"name": "ann", "password": PASSWORD})
    return client


@pytest.mark.parametrize("path", INSIDE)
def test_nobody_else_gets_in(run, client, walker, path):
    walker.begin()
    assistants = sign_in(run.database, "assistant", "ann", 1)
    for cookie in (None, "x", assistants, walker.url.removeprefix("/p/"), "é"):
        client.cookies.clear()
        headers = {"Cookie": f"fspo_researcher={cookie}".encode()} if cookie else {}
        response = client.get(path, headers=headers, follow_redirects=False)
        assert response.status_code == 303
        assert response.headers["location"] == "/researcher/login"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "ann", "password": PASSWORD + " "},
        {"name": "ann", "password": ""},
        {"name": "Ann", "password": PASSWORD},
        {"name": "", "password": ""},
        {},
    ],
)
def test_a_wrong_password_is_refused(client, fields):
    response = client.post("/researcher/login", data=fields)
    assert response.status_code == 401
    assert "do not fit" in response.text
    assert "fspo_researcher" not in client.cookies


def test_passwords_cannot_be_tried_without_end(client):
    statuses = [
        client.post("/researcher/login", data={"name": "ann", "password": str(n)}).status_code
        for n in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    right = client.post("/researcher/login", data={"name": "ann", "password": PASSWORD})
    assert right.status_code == 429


def test_the_cookie_is_a_strict_one(run, client):
    for scheme, secure in (("http", False), ("https", True)):
        browser = TestClient(run.app, base_url=f"{scheme}://localhost", follow_redirects=False)
        response = browser.post("/researcher/login", data={"name": "ann", "password": PASSWORD})
        cookie = response.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert ("secure" in cookie) == secure


def test_short_passwords_and_odd_names(run):
    with pytest.raises(FspoError, match="at least 12"):
        set_password(run.database, "ann", "short")
    with pytest.raises(FspoError, match="1 to 64"):
        set_password(run.database, "", PASSWORD)


def test_the_password_is_stored_as_a_hash(run, client):
    dump = "\n".join(run.database.engine.raw_connection().iterdump())
    assert "$argon2id$" in dump
    assert PASSWORD not in dump


def test_signing_out(ann):
    page = Page(ann.get("/researcher").text)
    token = ann.cookies["fspo_researcher"]
    ann.post("/researcher/logout", data=page.fields)
    ann.cookies.set("fspo_researcher", token)
    assert "Password" in ann.get("/researcher").text


def test_live_counts(ann, run, walk_in, attentive):
    walk_in(run).walk(attentive)
    careless = walk_in(run)
    page = careless.next(careless.begin())
    while page.fields.get("step") != "introduction":
        wrong = "right" if attentive(page) == "left" else "left" if "left" in page.texts else ""
        page = careless.next(page, lambda _, side=wrong: side)
    found = live(read_records(run.database), now())
    assert found["steps"] == {
        "begun": 2, "instructed": 2, "labeled": 2, "introduced": 1, "finished": 1
    }  # fmt: skip
    assert (found["here_now"], found["dropped_out"]) == (1, {})
    assert (found["failed_checks"], found["checks"]) == (1, 3)
    assert found["judged"] == {"base and personal": 11}
    assert found["seconds"]["judge"]["items"] == 12
    assert [row["answered"] for row in found["participants"]] == [22, 10]
    later = live(read_records(run.database), now() + timedelta(hours=1))
    assert (later["here_now"], later["dropped_out"]) == (0, {"labeled": 1})
    html = ann.get("/researcher").text
    assert "1 of 3 attention checks failed" in html
    assert Page(html).texts["step-finished"] == "1"
    assert "2 began, 1 are analyzed" in " ".join(ann.get("/researcher/results").text.split())


def test_deleting_needs_the_form_and_deletes_for_good(ann, run, walker):
    walker.begin()
    for fields in ({"number": "0"}, {"number": "0", "csrf": "x"}):
        ann.post("/researcher/delete", data=fields)
    assert len(read_records(run.database).people) == 1
    csrf = Page(ann.get("/researcher").text).fields
    for number in ("7", "-1", "x", "9" * 30, ""):
        ann.post("/researcher/delete", data=csrf | {"number": number})
    assert len(read_records(run.database).people) == 1
    ann.post("/researcher/delete", data=csrf | {"number": "0"})
    assert read_records(run.database).people == []
    assert walker.client.get(walker.url).status_code == 404
