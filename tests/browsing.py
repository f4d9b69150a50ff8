"""A real headless Chromium for tests: Debian's, driven by Playwright; and axe-core's verdict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Chromium as root has no sandbox; the rest keeps it from looking up its maker's hosts.
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_IMAGES = Path(__file__).parents[1] / "docs" / "images"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed; `make test` installs it where it can")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_QUIET)
        yield browser
        browser.close()


def new_page(browser: Browser, **settings: Any) -> Page:
    """A page of a new person, on which nothing may go wrong in scripts or in policy."""
    page = browser.new_context(**settings).new_page()
    page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))

    def heard(message: Any) -> None:
        if message.type == "error" and "Content Security Policy" in message.text:
            pytest.fail(message.text)

    page.on("console", heard)
    return page


def accessibility_faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical on the page as it is, with its style."""
    from axe_core_python.sync_playwright import Axe

    page.wait_for_load_state("load")  # a click does not wait for the next page's style sheet
    found = Axe().run(page)["violations"]
    return [
        f"{fault['id']}: {node['html'][:120]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def picture(page: Page, name: str, folder: Path, whole: bool = True) -> Path:
    """A screenshot in `folder`; docs/images is where `FSPO_PICTURES=1` puts it, too."""
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    if os.environ.get("FSPO_PICTURES"):
        shutil.copy(path, _IMAGES / path.name)
    return path
