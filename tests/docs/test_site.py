"""The site builds strictly: a broken link, or a page that is not in the navigation, is an error."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The documentation, and empty files in place of what it links to outside of docs/."""
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for path in (ROOT / "benchmarks").rglob("*.*"):
        if path.suffix in (".csv", ".json"):
            inside = tmp_path / path.relative_to(ROOT)
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.touch()
    return tmp_path


def built(place: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=place)


def test_the_site_builds_and_asks_for_nothing_from_the_web(copy: Path) -> None:
    done = built(copy)
    assert done.returncode == 0, done.stderr
    pages = list((copy / "site").rglob("*.html"))
    assert len(pages) > 20
    fetching = re.compile(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)')
    assert [found for page in pages for found in fetching.findall(page.read_text())] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[there](nowhere.md)", "nowhere.md"),
        ("[there](how-to/train.md#nowhere)", "#nowhere"),
        ("[there](../benchmarks/nowhere.json)", "nowhere.json"),
        ("![there](images/nowhere.png)", "nowhere.png"),
    ],
)
def test_a_broken_link_is_an_error_that_names_it(copy: Path, text: str, told: str) -> None:
    with (copy / "docs" / "tutorial.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{text}\n")
    done = built(copy)
    assert done.returncode != 0
    assert told in done.stderr


def test_a_page_that_is_not_in_the_navigation_is_an_error(copy: Path) -> None:
    (copy / "docs" / "how-to" / "lost.md").write_text("# Lost\n")
    done = built(copy)
    assert done.returncode != 0
    assert "how-to/lost.md" in done.stderr


LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_pages_beside_docs_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link, _ in LINK.findall(text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_room_is_told_of_in_the_design() -> None:
    rooms = {path.parent.name for path in (ROOT / "src" / "fspo").glob("*/__init__.py")}
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert [room for room in sorted(rooms) if f"`{room}/`" not in text] == []
