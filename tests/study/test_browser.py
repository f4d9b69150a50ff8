"""The whole study in a real browser: two participants, by keyboard and by hand; the researcher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import accessibility_faults, chromium, new_page, picture
from playwright.sync_api import Browser, Page, expect
from servers import running as served

from fspo.study.records import read_records
from fspo.study.researcher import set_password

PASSWORD = "long enough, this one"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def study(start: Callable[..., Any], definition: dict[str, Any]) -> Any:
    definition["completion"]["redirect"] = "https://app.prolific.com/complete?cc=DONE"
    found = start(definition)
    for name, backend in found.backends.items():
        tail = "In short: begin small, and keep at it." if name == "personal" else "It depends."
        backend.text = lambda question, tail=tail: f"You asked: {question} {tail}"
    return found


def side_of(page: Page) -> str:
    """The personal answer's side, or an attention check's right one, else the left."""
    right = page.locator("#right").text_content() or ""
    return "right" if right.endswith(("keep at it.", "Seven.", "clouds.")) else "left"


def begin(page: Page, address: str) -> None:
    page.goto(address)
    page.check("#agree")
    page.get_by_role("button", name="Agree and start").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#choose")).to_be_visible()


def heading(page: Page) -> str:
    return page.locator("h1").inner_text()


def choose(page: Page, send: Callable[[str], None]) -> None:
    before = heading(page)
    send(side_of(page))
    page.wait_for_function("before => document.querySelector('h1').innerText != before",
                           arg=before)  # fmt: skip


@pytest.mark.timeout(240)
def test_two_participants_and_the_researcher(browser: Browser, study: Any, tmp_path: Path) -> None:
    set_password(study.database, "ann", PASSWORD)
    gate = threading.Event()
    personal = study.backends["personal"].text
    study.backends["personal"].text = lambda question: gate.wait(60) and personal(question)
    with served(study.app) as address:
        by_keyboard(new_page(browser), address, gate, tmp_path)
        by_hand(new_page(browser, java_script_enabled=False), address)
        researchers_pages(new_page(browser), address, tmp_path)
    items = read_records(study.database).items
    assert len(items) == 44
    assert all(item.choice for item in items)
    assert all(i.chosen_method == "personal" for i in items if i.left_method)
    assert not any(item.failed for item in items)


def by_keyboard(page: Page, address: str, gate: threading.Event, folder: Path) -> None:
    page.goto(f"{address}/?PROLIFIC_PID=5f00")
    assert accessibility_faults(page) == []
    begin(page, f"{address}/?PROLIFIC_PID=5f00")
    assert accessibility_faults(page) == []

    def press(side: str) -> None:
        page.keyboard.press({"left": "ArrowLeft", "right": "ArrowRight"}[side])

    for number in range(10):
        if number == 3:
            page.go_back()
            page.reload()
            page.goto(page.url)
        choose(page, press)
    expect(page.locator("#made")).to_have_text("11")
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("h1")).to_have_text("Answers are being written for you")
    assert accessibility_faults(page) == []
    gate.set()
    expect(page.locator("#choose")).to_be_visible(timeout=20_000)  # by itself
    assert accessibility_faults(page) == []
    picture(page, "study-item", folder)
    for _ in range(12):
        page.wait_for_selector("#choose", timeout=20_000)
        choose(page, press)
    page.select_option("#ask_age", "30-49")
    page.fill("#ask_remarks", "<b>Fine</b>")
    page.keyboard.press("ArrowLeft")  # in a text, the arrows are the text's
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Finish").click()
    expect(page.locator("#code")).to_have_text("DONE")
    link = page.locator("#redirect")
    expect(link).to_have_attribute("href", "https://app.prolific.com/complete?cc=DONE")
    assert accessibility_faults(page) == []
    page.route("https://app.prolific.com/**", lambda route: route.fulfill(body="Back again"))
    page.clock.install()
    page.reload()
    expect(page.locator("#taken-back")).to_be_visible()
    page.clock.fast_forward(9_000)
    expect(link).to_be_visible()
    page.clock.fast_forward(1_100)
    expect(page.get_by_text("Back again")).to_be_visible()
    expect(page).to_have_url("https://app.prolific.com/complete?cc=DONE")


def by_hand(page: Page, address: str) -> None:
    """Without scripts."""
    begin(page, address)
    for _ in range(200):
        if page.locator("#choose").count():
            page.locator(f"button[value={side_of(page)}]").click()
        elif page.locator("#code").count():
            return
        elif page.get_by_role("button").count():
            page.get_by_role("button").click()
        else:
            page.get_by_role("link", name="Look whether they are ready").click()
    raise AssertionError("the study does not end")


def researchers_pages(page: Page, address: str, folder: Path) -> None:
    page.goto(f"{address}/researcher")
    assert accessibility_faults(page) == []
    page.fill("#name", "ann")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#step-finished")).to_have_text("2")
    assert accessibility_faults(page) == []
    picture(page, "study-researcher", folder)
    page.get_by_role("link", name="Results").click()
    expect(page.locator("main")).to_contain_text("22 of 22 answers, of 2 people")
    assert accessibility_faults(page) == []
    picture(page, "study-results", folder)


def test_a_phone_in_the_dark(browser: Browser, study: Any, tmp_path: Path) -> None:
    page = new_page(
        browser, viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True
    )
    with served(study.app) as address:
        begin(page, address)
        assert accessibility_faults(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
        page.locator("button[value=right]").tap()
        expect(page.locator("h1")).to_contain_text("Your preferences")
        picture(page, "study-phone", tmp_path)
