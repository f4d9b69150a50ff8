"""The participant's way through the study, also where it is a crooked one."""

from __future__ import annotations

import secrets
import sqlite3
import threading

import pytest
from sqlalchemy import func, select

from fspo.assistant.backend import Abilities
from fspo.study.queue import Job, Queue
from fspo.study.records import read_records
from fspo.study.researcher import set_password
from fspo.study.tables import (
    Definition,
    Description,
    Event,
    Generation,
    ItemRow,
    Participant,
    Recruitment,
)
from fspo.study.visiting import Page
from fspo.study.worker import Worker
from fspo.web.database import Base


def choices(running):
    return [i.choice for i in read_records(running.database).items if i.choice]


def count(running, table):
    with running.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_from_consent_to_the_code(run, walker, attentive):
    page = walker.walk(attentive)
    assert page.texts["code"] == "DONE"
    records = read_records(run.database)
    items = records.items
    assert [i.stage for i in items] == ["practice"] + ["label"] * 9 + ["judge"] * 12
    assert all(i.choice for i in items)
    assert records.people[0].finished
    judged = [i for i in items if i.stage == "judge" and not i.is_check]
    assert [i.chosen_method for i in judged] == ["personal"] * 11
    assert not any(i.failed for i in items)
    # What the policy was told is what was chosen, and nothing of the checks.
    person = run.backends["personal"].people[0]
    labels = [i for i in items if i.stage == "label" and not i.is_check]
    assert [s.chosen for s in person.shots] == [
        i.left if i.choice == "left" else i.right for i in labels
    ]
    assert len(person.shots) == 8
    assert person.key in run.backends["personal"].forgotten


def test_reloading_and_coming_back_show_the_same_item(run, walker, walk_in):
    page = walker.next(walker.begin())
    for _ in range(6):
        again = walker.look()
        assert (again.texts["left"], again.fields) == (page.texts["left"], page.fields)
        page = walker.next(page)
    elsewhere = walk_in(run)  # the link alone is enough, as after losing the cookies
    elsewhere.url = walker.url
    assert elsewhere.look().fields == page.fields
    # The study's own address leads there, too.
    assert Page(walker.client.get("/").text).fields == page.fields
    assert len(choices(run)) == 6


def test_a_choice_counts_once_whoever_sends_it_again(run, walker):
    page = walker.next(walker.begin())
    after = walker.send(page, choice="left")
    for side in ("left", "right", "right"):
        assert walker.send(page, choice=side).fields == after.fields
    assert choices(run) == ["left"]


def test_two_tabs(run, walker):
    one = other = walker.next(walker.begin())
    for number in range(5):
        moved = walker.send(one, choice="left")
        assert walker.send(other, choice="right").fields == moved.fields
        assert len(choices(run)) == number + 1
        one, other = moved, walker.look()
    assert choices(run) == ["left"] * 5


def test_two_clicks_in_the_same_moment(run, walker):
    page = walker.next(walker.begin())
    clients = [run.client() for _ in range(8)]
    barrier = threading.Barrier(8)

    def click(number):
        barrier.wait()
        clients[number].post(page.action, data=page.fields | {"choice": "left"})

    threads = [threading.Thread(target=click, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert choices(run) == ["left"]


@pytest.mark.parametrize("place", ["2", "-1", "999999999999", "٣", "", "1.0", "one"])
def test_only_the_current_item_can_be_answered(run, walker, place):
    page = walker.next(walker.begin())
    assert walker.send(page, place=place, choice="left").fields == page.fields
    assert choices(run) == []


@pytest.mark.parametrize("choice", ["", "LEFT", "both", "<script>"])
def test_only_a_side_can_be_chosen(run, walker, choice):
    page = walker.next(walker.begin())
    assert walker.send(page, choice=choice).fields == page.fields
    assert choices(run) == []


def test_steps_cannot_be_skipped(run, walker):
    page = walker.begin()
    for action, fields in (
        ("answer", {"place": "0", "choice": "left"}),
        ("continue", {"step": "introduction"}),
        ("continue", {"step": "finished"}),
        ("replies", {"ask_age": "18-29"}),
        ("nothing", {}),
    ):
        data = {"csrf": page.fields["csrf"]} | fields
        shown = Page(walker.client.post(f"{walker.url}/{action}", data=data).text)
        assert shown.fields == page.fields
    person = read_records(run.database).people[0]
    assert (person.instructed, person.introduced, person.finished) == (None, None, None)
    assert person.replies == {}


def test_a_form_from_elsewhere_is_refused(run, walker, walk_in):
    page = walker.next(walker.begin())
    for csrf in ("", "x", "é", walk_in(run).begin().fields["csrf"]):
        forged = page.fields | {"csrf": csrf, "choice": "left"}
        response = walker.client.post(page.action, data=forged)
        assert response.status_code == 403
    stranger = walk_in(run).client
    assert stranger.post("/consent", data={"agree": "yes", "csrf": "x"}).status_code == 403
    assert choices(run) == []
    assert count(run, Participant) == 2


def test_nobody_begins_without_agreeing(run, walker):
    page = Page(walker.client.get("/").text)
    response = walker.client.post("/consent", data=page.fields)
    assert response.status_code == 400
    assert "Tick the box" in response.text
    assert count(run, Participant) == 0


def test_two_clicks_on_start_begin_once(run, walker):
    page = Page(walker.client.get("/").text)
    urls = {
        walker.client.post("/consent", data=page.fields | {"agree": "yes"}).url for _ in range(3)
    }
    assert len(urls) == 1
    assert count(run, Participant) == 1


def test_recruitment_stands_apart_and_begins_once(run, walker, walk_in):
    who = {"PROLIFIC_PID": "5f00", "STUDY_ID": "s1", "SESSION_ID": "x9"}
    walker.begin(**who)
    with run.database.reading() as session:
        [row] = session.scalars(select(Recruitment))
        assert (row.prolific_pid, row.study_id, row.session_id) == ("5f00", "s1", "x9")
    elsewhere = walk_in(run)
    page = Page(elsewhere.client.get("/", params=who).text)
    response = elsewhere.client.post("/consent", data=page.fields | {"agree": "yes"})
    assert response.status_code == 409
    assert "You have begun already" in response.text
    # Somebody else in the same browser is somebody else.
    first = walker.url
    walker.begin(**who | {"PROLIFIC_PID": "6a11"})
    assert walker.url != first
    assert count(run, Participant) == 2


def test_a_wrong_link_tells_nothing(run, walker):
    walker.begin()
    token = walker.url.removeprefix("/p/")
    wrong = [token[:-1], token + "0", "x" * 64, "0" * 5000, token.upper(), "%00", "é"]
    answers = [walker.client.get(f"/p/{one}") for one in wrong]
    answers += [walker.client.get(f"/p/{one}/withdraw") for one in wrong]
    answers += [
        walker.client.post(f"/p/{one}/answer", data={"place": "0", "csrf": "x"}) for one in wrong
    ]
    assert {a.status_code for a in answers} == {404}
    assert len({a.text for a in answers}) == 1
    assert {walker.client.get(f"/p/{one}/ready").status_code for one in wrong} == {404}
    assert walker.client.get("/nothing/here").text == answers[0].text


def test_tokens_are_stored_as_hashes_alone(run, walker):
    walker.begin()
    token, visit = walker.url.removeprefix("/p/"), walker.client.cookies["fspo_visit"]
    assert len(token) == 64
    dump = "\n".join(run.database.engine.raw_connection().iterdump())
    assert token not in dump
    assert visit not in dump


def test_who_chooses_too_soon_is_asked_to_read(start, definition, walk_in):
    definition["limits"] = {"min_seconds": 60, "max_seconds": 600}
    running = start(definition)
    walker = walk_in(running)
    page = walker.next(walker.begin())
    response = walker.client.post(page.action, data=page.fields | {"choice": "left"})
    assert "Please read both answers" in response.text
    assert choices(running) == []
    assert read_records(running.database).events == {"too_soon": 1}


def labeled(walker):
    """Up to where the blind questions are introduced."""
    page = walker.begin()
    while page.fields.get("step") != "introduction":
        page = walker.next(page)
    return page


def test_slow_answers_are_waited_for_and_shown_together(run, walker):
    gate = threading.Event()
    run.backends["personal"].text = lambda question: gate.wait(30) and f"late: {question}"
    page = labeled(walker)
    page = walker.next(page)
    assert "left" not in page.texts
    assert page.texts["made"] != "0"  # base was asked while the person was labeling
    ready = walker.client.get(f"{walker.url}/ready").json()
    assert ready == {"ready": False, "made": 11, "wanted": 22}
    gate.set()
    while "left" not in page.texts:
        page = walker.look()
    assert {page.texts["left"][:4], page.texts["right"][:4]} == {"late", "base"}
    with run.database.reading() as session:
        shown = session.scalar(select(ItemRow.shown).where(ItemRow.place == 10))
        made = session.scalars(
            select(Generation.made).join(ItemRow, ItemRow.id == Generation.item)
            .where(ItemRow.place == 10)
        ).all()  # fmt: skip
    assert shown >= max(made)


def test_looking_whether_answers_are_ready_starts_no_clock(run, walker):
    walker.next(labeled(walker))
    while not walker.client.get(f"{walker.url}/ready").json()["ready"]:
        pass
    walker.client.get(f"{walker.url}/ready")
    with run.database.reading() as session:
        last = select(ItemRow.shown).where(ItemRow.stage == "judge").order_by(ItemRow.place.desc())
        assert session.scalars(last).first() is None


def test_a_method_that_fails_is_asked_again_and_then_left_out(run, walker):
    run.backends["personal"].fails = 2
    run.backends["base"].fails = 3
    walker.walk()
    items = read_records(run.database).items
    assert len([i for i in items if i.skipped]) == 1
    assert all(i.choice for i in items if not i.skipped)
    assert read_records(run.database).events == {"failed": 1}


def test_a_policy_that_describes_people_does_so_once(run, walker):
    backend = run.backends["personal"]
    backend.abilities = Abilities(describes=True)
    backend.describe = lambda person: f"somebody after {len(person.shots)} choices"
    walker.walk()
    assert {person.description for person in backend.people} == {"somebody after 8 choices"}
    with run.database.reading() as session:
        [row] = session.scalars(select(Description))
        assert (row.method, row.text) == ("personal", "somebody after 8 choices")


def test_a_restart_goes_on_with_what_was_being_written(start, definition, walk_in):
    running = start(definition)
    walker = walk_in(running)
    walker.begin()
    taken = Queue(running.database).claim()  # and then the server is gone
    again = start(definition, running.where)
    elsewhere = walk_in(again)
    elsewhere.url = walker.url
    with again.client():
        assert "code" in elsewhere.finish(elsewhere.look()).texts
    with again.database.reading() as session:
        row = session.get(Generation, taken.generation)
        assert (row.state, row.attempts) == ("done", 1)
    # What the lost server would still have written comes too late.
    Queue(again.database).done(taken, "too late", "stop", 1.0)
    with again.database.reading() as session:
        assert session.get(Generation, taken.generation).text != "too late"


def test_the_same_seed_writes_the_same_after_a_restart(start, definition):
    seeds = []
    running = start(definition)
    for place, attempt in ((3, 1), (3, 1), (3, 2), (4, 1)):
        job = Job(1, "c", 1, "k", 5, place, "q", "base", attempt)
        seeds.append(Worker(Queue(running.database), running.study, {})._seed(job))
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3


def test_who_withdraws_is_gone(run, walker, attentive):
    walker.walk(attentive, PROLIFIC_PID="5f00")
    assert "cannot be undone" in walker.client.get(f"{walker.url}/withdraw").text
    page = Page(walker.client.get(f"{walker.url}/withdraw").text)
    assert "have been deleted" in walker.client.post(page.action, data=page.fields).text
    assert walker.client.get(walker.url).status_code == 404
    study = [t for t in Base.metadata.sorted_tables if t.name.startswith("study_")]
    left = {table.name: count(run, table) for table in study if count(run, table)}
    assert left == {"study_definitions": 1, "study_events": 1}
    with run.database.reading() as session:
        event = session.scalar(select(Event))
        assert (event.kind, event.participant) == ("withdrew", None)
        assert session.scalar(select(func.count(Definition.id))) == 1


def test_what_is_asked_at_the_end_is_kept_if_it_can_be(run, walker):
    page = walker.begin()
    while not page.action.endswith("/replies"):
        page = walker.next(page)
    walker.send(page, ask_age="17", ask_remarks="Fine.", ask_other="x")
    walker.send(page, ask_remarks="Again?")
    assert read_records(run.database).people[0].replies == {"remarks": "Fine."}


def test_pages_tell_nothing_of_methods(start, definition, walk_in):
    definition["methods"] = {"Mqalpha": {"answers": "personal"}, "Mqbeta": {"answers": "plain"}}
    definition["comparisons"] = [["Mqalpha", "Mqbeta"]]
    running = start(definition)
    for backend in running.backends.values():
        backend.text = lambda question: "the same"
    walker = walk_in(running)
    shapes = set()
    with running.client():
        page = walker.next(labeled(walker))
        while not page.action.endswith("/replies"):
            if "left" not in page.texts:
                page = walker.look()
                continue
            html = walker.client.get(walker.url).text
            assert "Mq" not in html
            # With equal texts, pages differ in nothing but the question and its number.
            if page.texts["left"] == "the same":
                for own in (page.texts["question"], f'value="{page.fields["place"]}"'):
                    assert own in html
                    html = html.replace(own, "")
                shapes.add("".join(letter for letter in html if not letter.isdigit()))
            page = walker.next(page)
    assert len(shapes) == 1


def test_headers_and_cookies(run, walker):
    response = walker.client.get("/")
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert response.headers["referrer-policy"] == "no-referrer"
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    for page in ("/", walker.begin() and walker.url):
        html = walker.client.get(page).text
        assert "<style" not in html
        assert " style=" not in html
        assert "onclick" not in html
    assert walker.client.get("/static/study/study.js").status_code == 200


def test_too_much_at_once_is_refused(run, walker):
    page = walker.next(walker.begin())
    response = walker.client.post(page.action, data=page.fields | {"choice": "x" * 300_000})
    assert response.status_code == 413
    assert walker.client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_study_in_two_languages(start, definition, walk_in):
    english = definition["languages"]["en"]
    german = english | {"title": "Welche Antwort?", "words": {"start": "Los", "go_on": "Weiter"}}
    definition["languages"] = {"en": english, "de": german}
    running = start(definition)
    walker = walk_in(running)
    html = walker.client.get("/", params={"PROLIFIC_PID": "a&b"}).text
    assert "Welche Antwort?" in html
    assert "PROLIFIC_PID=a%26b&amp;lang=de" in html
    html = walker.client.get("/", params={"lang": "de"}).text
    assert '<html lang="de">' in html
    page = Page(html)
    response = walker.client.post(page.action, data=page.fields | {"agree": "yes"})
    assert "Weiter" in response.text
    assert read_records(running.database).people[0].language == "de"


@pytest.mark.parametrize("by", ["participant", "researcher"])
def test_whoever_withdrew_is_gone_from_the_disk(run, walk_in, tmp_path, by):
    def on_disk():
        return b"".join(path.read_bytes() for path in tmp_path.glob("study.db*"))

    ids = [f"pid-{n}-{secrets.token_hex(8)}" for n in range(4)]
    words = [f"remark {secrets.token_hex(8)}" for _ in ids]
    walkers = [walk_in(run) for _ in ids]
    for walker, pid, remark in zip(walkers, ids, words, strict=True):
        page = walker.begin(PROLIFIC_PID=pid, STUDY_ID="s", SESSION_ID="t")
        while not page.action.endswith("/replies"):
            page = walker.next(page)
        walker.send(page, ask_remarks=remark)
    held = on_disk()
    assert all(text.encode() in held for text in ids + words)
    reader = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    for number in (1, 2):
        if number == 2:  # somebody reads: it is said that it is not yet gone
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM study_items").fetchall()
        if by == "participant":
            page = Page(walkers[number].client.get(f"{walkers[number].url}/withdraw").text)
            told = walkers[number].client.post(page.action, data=page.fields).text
            assert ("a little longer" in told) == (number == 2)
        else:
            set_password(run.database, "ann", "long enough, this one")
            client = run.client()
            client.post(
                "/researcher/login", data={"name": "ann", "password": "long enough, this one"}
            )
            page = Page(client.get("/researcher").text)
            told = client.post("/researcher/delete", data=page.fields | {"number": number}).text
            assert ("not yet gone" in told) == (number == 2)
        held = on_disk()
        assert (ids[number].encode() in held) == (number == 2)
        assert (words[number].encode() in held) == (number == 2)
    reader.close()
    run.database.close()  # as the server does when it ends
    held = on_disk()
    assert [text.encode() in held for text in ids + words] == [True, False, False, True] * 2
