"""The assistant's page in a real browser, on a pretended model and on the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import accessibility_faults, chromium, new_page, picture
from playwright.sync_api import Browser, Page, expect
from pretend_backend import PretendBackend
from servers import running

from fspo.assistant.app import create_app
from fspo.assistant.keys import add_key
from fspo.domains.reviews.measures import measure
from fspo.llm.sampling import Sampling
from fspo.preferences.reading import load_preferences
from fspo.preferences.records import Preference
from fspo.web.database import open_database

HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
POOL = [Preference(f"q{n} {HOSTILE}", f"good {n} {HOSTILE}", f"bad {n}") for n in range(4)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    database = open_database(str(tmp_path / "a.db"))
    with running(create_app(PretendBackend(), database, POOL)) as found:
        yield found


def standing(page: Page) -> int:
    return page.locator(".choice:not(.gone)").count()


def test_a_choice_by_keyboard_changes_the_answer_at_once(browser: Browser, address: str) -> None:
    page = new_page(browser)
    page.goto(address)
    page.fill("#question", "How are you?")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("How are you?||")
    expect(page.locator("#pair-box")).to_be_visible()
    left = page.locator("#left").text_content() or ""
    page.locator("#pair-title").click()
    page.keyboard.press("1")
    expect(page.locator("#count")).to_have_text("(1)")
    expect(page.locator("#answer")).to_have_text(f"How are you?|{left}|somebody after 1 choices")
    expect(page.locator("#before")).to_have_text("How are you?||")
    expect(page.locator("#description")).to_have_value("somebody after 1 choices")
    assert page.title() != "hit"
    assert standing(page) == 1


def test_a_profile_is_edited_exported_imported_and_deleted(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page = new_page(browser, accept_downloads=True)
    page.goto(address)
    expect(page.locator("#pair-box")).to_be_visible()
    for count in (1, 2):
        page.click("#choose-right")
        expect(page.locator("#count")).to_have_text(f"({count})")
    page.fill("#description", "a poet " + HOSTILE)
    page.click("#describe button")
    expect(page.locator("#described-by")).to_have_text("Written by you.")
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "profile.json"
    download.value.save_as(path)
    assert len(json.loads(path.read_text())["choices"]) == 2
    page.get_by_label(re.compile("Take back")).first.click()
    expect(page.locator("#count")).to_have_text("(1)")
    page.click("#delete")
    page.click("#delete-no")
    expect(page.locator("#count")).to_have_text("(1)")
    page.click("#delete")
    page.click("#delete-yes")
    expect(page.locator("#count")).to_have_text("(0)")
    expect(page.locator("#description")).to_have_value("")
    page.set_input_files("#import", path)
    expect(page.locator("#count")).to_have_text("(2)")
    expect(page.locator("#description")).to_have_value("a poet " + HOSTILE)
    path.write_text('{"format": "other"}')
    page.set_input_files("#import", path)
    expect(page.locator("#error")).to_contain_text("this is no profile")
    assert page.title() != "hit"


def test_what_contradicts_is_seen_to_supersede(browser: Browser, address: str) -> None:
    page = new_page(browser)
    page.goto(address)
    expect(page.locator("#pair-box")).to_be_visible()
    page.evaluate(
        """async () => {
            for (const [chosen, rejected] of [["a", "b"], ["b", "a"]])
                await call("POST", "/v1/preferences", {prompt: "q", chosen, rejected});
            await profile();
        }"""
    )
    expect(page.locator(".choice.gone")).to_contain_text("(superseded)")
    assert standing(page) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (360, 740)])
def test_axe_finds_no_serious_fault(
    browser: Browser, address: str, scheme: str, size: tuple[int, int]
) -> None:
    page = new_page(browser, color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    page.goto(address)
    page.fill("#question", "q")
    page.click("#ask button")
    expect(page.locator("#answer")).not_to_be_empty()
    page.click("#choose-left")
    expect(page.locator("#count")).to_have_text("(1)")
    assert accessibility_faults(page) == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size[0]  # nothing to scroll sideways on a phone
    for path in ("/docs", "/login"):
        page.goto(address + path)
        assert accessibility_faults(page) == []


def test_signing_in_with_a_key(browser: Browser, tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "a.db"))
    key = add_key(database, "mine", user="ann")
    with running(create_app(PretendBackend(), database, POOL)) as address:
        page = new_page(browser)
        page.goto(address)
        page.fill("#key", "wrong")
        page.click("main button")
        expect(page.locator(".error")).to_contain_text("not known")
        page.fill("#key", key)
        page.click("main button")
        expect(page.locator("#pair-box")).to_be_visible()
        page.click("#choose-left")
        expect(page.locator("#count")).to_have_text("(1)")
        page.click("text=Sign out")
        page.goto(address)
        expect(page.locator("#key")).to_be_visible()


def label_four(page: Page, likes_praise: bool) -> None:
    """Chooses as a person would who likes long praise, or short and critical reviews."""
    sign = 1 if likes_praise else -1
    count = 0
    while count < 4:  # what is asked next takes longer with each of them
        expect(page.locator("#pair-box")).to_be_visible(timeout=240_000)
        sides = ("left", "right")
        found = {side: measure(page.locator(f"#{side}").text_content() or "") for side in sides}
        if all(sign * one["sentiment"] < 0 for one in found.values()):
            page.click("#skip")  # likes neither
            continue
        best = max(
            sides, key=lambda side: sign * (found[side]["sentiment"] + found[side]["words"] / 40)
        )
        page.click(f"#choose-{best}")
        count += 1
        expect(page.locator("#count")).to_have_text(f"({count})", timeout=600_000)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_people_who_choose_differently_get_different_answers(
    browser: Browser, tmp_path: Path
) -> None:
    """The policy that comes with fspo, on the embedded model: nothing here is pretended."""
    from fspo.assistant.local import LocalBackend
    from fspo.bundled import BUNDLED

    database = open_database(str(tmp_path / "a.db"))
    keys = {likes: add_key(database, str(likes), user="u") for likes in (True, False)}
    backend = LocalBackend(BUNDLED.name)
    pairs = [pair for _, pair in load_preferences(BUNDLED / "pairs.jsonl")]
    sampling = Sampling(max_tokens=60, temperature=0)
    answers = {}
    with running(create_app(backend, database, pairs, sampling)) as address:
        for likes, key in keys.items():
            page = new_page(browser, viewport={"width": 1280, "height": 900})
            page.set_default_timeout(600_000)
            page.goto(address)
            page.fill("#key", key)
            page.click("main button")
            label_four(page, likes)
            page.fill("#question", "Write a review of the movie Casablanca (1942).")
            page.click("#ask button")
            answer = page.locator("#answer")
            expect(answer).not_to_be_empty(timeout=600_000)
            expect(page.locator("#status")).to_have_text("", timeout=600_000)
            answers[likes] = answer.text_content() or ""
            if likes:
                picture(page, "assistant-praise", tmp_path, whole=False)
    # How long the answers are is not compared: one answer each is too few, and which of two nearly
    # equally likely words comes next differs from one processor to another.
    praise, critical = (measure(answers[likes])["sentiment"] for likes in (True, False))
    assert praise > critical
