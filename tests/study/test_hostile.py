"""Texts that mean harm, in every field: shown as they are, and nothing breaks."""

from __future__ import annotations

import csv
import re
from urllib.parse import quote

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.study.cleaning import clean
from fspo.study.export import export, export_recruitment
from fspo.study.records import read_records
from fspo.study.researcher import set_password
from fspo.study.visiting import Page

SCRIPT = "<script>alert(1)</script>"
TEXTS = [
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "a\r\nSet-Cookie: evil=1\r\n\r\n<b>",
    "\u202egnp.exe\u2066\u200f\u0000\u0007",
    "</div></form><form action='https://evil.example'>",
    "=HYPERLINK(1)",
    "x" * 20_000,
    "&lt;b&gt; &amp;amp;",
    "'; DROP TABLE study_answers; --",
    "\U0001f9d1\u200d\U0001f52c e\u0301 \ufeff",
]


def hostile(definition, text):
    own = definition["languages"]["en"]
    for name in ("title", "consent", "instructions", "judging", "thanks"):
        own[name] = text
    own["practice"] = [{"question": text, "answers": [text, text + "2"]}]
    own["pairs"] = [{"question": f"{text}{n}", "answers": [text, f"{text}{n}"]} for n in range(9)]
    own["questions"] = [f"{text}q{n}" for n in range(12)]
    own["checks"] = [{"stage": "judge", "question": text, "right": text, "wrong": text + "w"}]
    own["asks"] = [
        {"name": "mood", "question": text, "choices": {"a": text}},
        {"name": "remarks", "question": text},
    ]
    own["words"] = dict.fromkeys(("choose_left", "go_on", "finish", "must_agree"), text)
    return definition | {"contact": text}


def harmless(html):
    """No element or attribute but those of the templates."""
    assert SCRIPT not in html
    assert not re.search(r"<(img|b|%)[ >=]|<form action=", html)
    assert "<title>49" not in html
    scripts = re.findall(r"<script[^>]*>", html)
    assert scripts in ([], ['<script src="/static/study/study.js" defer>'])


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_hostile_texts_everywhere(start, definition, walk_in, tmp_path, text):
    running = start(hostile(definition, text))
    for backend in running.backends.values():
        backend.text = lambda question: text
    walker = walk_in(running)
    who = dict.fromkeys(("STUDY_ID", "SESSION_ID", "lang"), text[:2000])
    pages = []
    with running.client():
        refused = walker.client.get("/", params=who | {"PROLIFIC_PID": text[:2000]})
        assert refused.status_code == (200 if text.isalnum() and len(text) <= 256 else 400)
        pages.append(refused.text)
        who["PROLIFIC_PID"] = "5f00"
        html = walker.client.get("/", params=who).text
        pages.append(html)
        pages.append(walker.client.post("/consent", data=Page(html).fields).text)
        page = walker.begin(**who)
        while "code" not in page.texts:
            pages.append(walker.client.get(walker.url).text)
            if page.action.endswith("/replies"):
                page = walker.send(page, ask_mood=text, ask_remarks=text)
            else:
                page = walker.next(page)
        pages.append(walker.client.get(f"{walker.url}/withdraw").text)
    for html in pages:
        harmless(html)
    shown = clean(text)
    items = read_records(running.database).items
    assert all(i.choice for i in items)
    assert [i.left for i in items if i.left_method] == [shown] * 11
    remarks = read_records(running.database).people[0].replies.get("remarks", "")
    assert remarks == clean(text, 5000)
    check_exports(running, tmp_path, text)
    check_researcher(running, text)


def check_exports(running, folder, text):
    export(running.study, running.database, folder / "out")
    exact = pyarrow.parquet.read_table(folder / "out/items.parquet").to_pylist()
    assert [row["left"] for row in exact if row["left_method"]] == [clean(text)] * 11
    for name in ("items.csv", "replies.csv"):
        with (folder / "out" / name).open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                assert not any(cell[:1] in ("=", "+", "-", "@") for cell in row)
    export_recruitment(running.database, folder / "who.csv")
    with (folder / "who.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    # Apostrophes stand before what a spreadsheet would take for a formula.
    assert row["study_id"].replace("'", "") == clean(text, 256).replace("'", "")


def check_researcher(running, text):
    client = running.client()
    set_password(running.database, "ann", "long enough, this one")
    for fields in ({"name": text, "password": text}, {"name": text}, {}, {"password": text}):
        response = client.post("/researcher/login", data=fields)
        assert response.status_code == 401
        harmless(response.text)
    client.post("/researcher/login", data={"name": "ann", "password": "long enough, this one"})
    for path in ("/researcher", "/researcher/results"):
        response = client.get(path)
        assert response.status_code == 200
        harmless(response.text)
    harmless(client.post(f"/researcher/{quote(text[:50], safe='')}", data={"number": text}).text)


def test_template_syntax_is_text(start, definition, walk_in):
    # A product that no random token holds: 49 was in one of five.
    running = start(hostile(definition, "{{ 20000001 * 30000001 }}"))
    html = walk_in(running).client.get("/").text
    assert "{{ 20000001 * 30000001 }}" in html
    assert str(20000001 * 30000001) not in html


@settings(max_examples=200)
@given(st.text())
def test_what_is_stored_is_whole_and_seen(text):
    kept = clean(text)
    kept.encode("utf-8")
    assert clean(kept) == kept
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in kept)
    assert len(clean(text, 7)) <= 7
