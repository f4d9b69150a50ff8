"""The researcher's pages: for researchers alone, with the right numbers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from fspo.errors import FspoError
from fspo.study import researcher
from fspo.study.live import live
from fspo.study.records import read_records
from fspo.study.researcher import remove, set_password
from fspo.study.store import Recruited, Store
from fspo.study.visiting import Page
from fspo.web import sessions
from fspo.web.addresses import BehindProxy
from fspo.web.database import now
from fspo.web.sessions import Busy, hash_password, sign_in

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


@pytest.mark.parametrize("end", ["password", "removal", "removal and the same name again"])
def test_a_new_password_or_a_removal_ends_sign_ins_at_once(run, client, end):
    set_password(run.database, "bob", PASSWORD)
    browsers = [run.client() for _ in range(3)]
    for browser, name in zip(browsers, ("ann", "ann", "bob"), strict=True):
        browser.post("/researcher/login", data={"name": name, "password": PASSWORD})
    csrf = [Page(browser.get("/researcher").text).fields["csrf"] for browser in browsers]
    walker_token = "link"
    Store(run.database, run.study, run.pools).begin(walker_token, "en", Recruited())
    if end == "password":
        set_password(run.database, "ann", PASSWORD + "2")
    else:
        remove(run.database, "ann")
        if "again" in end:
            set_password(run.database, "ann", PASSWORD)
    for browser, token in zip(browsers[:2], csrf[:2], strict=True):
        for path in INSIDE:
            assert browser.get(path, follow_redirects=False).status_code == 303
        browser.post("/researcher/delete", data={"csrf": token, "number": "0"})
    assert len(read_records(run.database).people) == 1
    assert "Sign out bob" in browsers[2].get("/researcher").text
    tried = client.post("/researcher/login", data={"name": "ann", "password": PASSWORD})
    assert ("Sign out ann" in tried.text) == ("again" in end)


def test_removing_nobody_is_told(run, client):
    with pytest.raises(FspoError, match="no researcher 'eve'; there is ann"):
        remove(run.database, "eve")


def test_who_is_removed_while_signing_in_is_not_signed_in(run, client, monkeypatch):
    fits = researcher.password_fits

    def slowly(password, hashed):
        found = fits(password, hashed)
        remove(run.database, "ann")
        return found

    monkeypatch.setattr(researcher, "password_fits", slowly)
    tried = client.post("/researcher/login", data={"name": "ann", "password": PASSWORD})
    assert tried.status_code == 401
    assert "fspo_researcher" not in client.cookies


def tries_from(run, addresses, names):
    """The statuses of a wrong password from each address, behind a proxy on this machine."""
    app = BehindProxy(run.app)
    client = TestClient(app, "http://localhost", client=("127.0.0.1", 1), follow_redirects=False)
    return [
        client.post(
            "/researcher/login",
            data={"name": name, "password": "wrong"},
            headers={"X-Forwarded-For": address},
        ).status_code
        for address, name in zip(addresses, names, strict=True)
    ]


@pytest.mark.parametrize(
    "address",
    [
        "2001:db8:1:2::{n:x}", "2001:db8:1:2:{n:x}::1", "{n}.1.1.1, 203.0.113.10",
        "203.0.113.10:{n}", "203.0.113.10 garbage {n}", "garbage {n}", "::ffff:203.0.113.10",
        "[2001:db8:1:2::{n:x}]:80", "",
    ],
)  # fmt: skip
def test_tries_are_counted_for_the_network_whatever_a_client_says(run, client, address):
    addresses = [address.format(n=n) for n in range(1, 13)]
    names = [f"name {n}" for n in range(12)]
    assert tries_from(run, addresses, names) == [401] * 10 + [429] * 2


def test_tries_are_counted_for_the_name_wherever_they_come_from(run, client):
    addresses = [f"203.0.113.{n}" for n in range(12)]
    assert tries_from(run, addresses, ["ann"] * 12) == [401] * 10 + [429] * 2
    assert tries_from(run, ["203.0.113.1"], ["bob"]) == [401]


def test_two_passwords_at_most_are_hashed_at_once(monkeypatch):
    at_once, most, lock = 0, 0, threading.Lock()

    class Slow:
        def hash(self, password):
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.02)
            with lock:
                at_once -= 1
            return "hash"

    monkeypatch.setattr("argon2.PasswordHasher", Slow)
    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(hash_password, ["password"] * 20)) == {"hash"}
    assert most == 2
    monkeypatch.setattr(sessions, "_SECONDS_TO_WAIT", 0.01)
    with ThreadPoolExecutor(20) as threads:
        tried = [threads.submit(hash_password, "password") for _ in range(20)]
    assert {type(one.exception()) for one in tried} == {Busy, type(None)}


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost"}, True),
        ({}, True),
    ],
)
def test_a_form_of_another_site_signs_nobody_in(run, client, headers, taken):
    fields = {"name": "ann", "password": PASSWORD}
    entered = client.post("/researcher/login", data=fields, headers=headers)
    assert ("fspo_researcher" in client.cookies) == taken
    assert (entered.status_code == 403) == (not taken)
    assert client.get("/researcher/login").headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("proto", "secure"),
    [(None, True), ("https", True), ("http", False), ("http, https", True), ("nonsense", True)],
)
def test_behind_a_proxy_cookies_are_secure_unless_it_says_otherwise(run, client, proto, secure):
    browser = TestClient(
        BehindProxy(run.app), "http://localhost", client=("127.0.0.1", 1), follow_redirects=False
    )
    headers = {"X-Forwarded-Proto": proto} if proto else {}
    fields = {"name": "ann", "password": PASSWORD}
    cookie = browser.post("/researcher/login", data=fields, headers=headers).headers["set-cookie"]
    assert ("secure" in cookie.lower()) == secure


def test_who_is_no_proxy_on_this_machine_is_not_believed(run, client):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["client"], scope["scheme"]))

    for peer in ("198.51.100.7", "127.0.0.1"):
        scope = {"type": "http", "client": (peer, 5), "scheme": "http",
                 "headers": [(b"x-forwarded-for", b"203.0.113.9"),
                             (b"x-forwarded-for", b"1.1.1.1, 203.0.113.10")]}  # fmt: skip
        asyncio.run(BehindProxy(app)(scope, None, None))
    assert seen == [(("198.51.100.7", 5), "http"), (("203.0.113.10", 0), "https")]
