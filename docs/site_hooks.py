"""Puts what pages link to outside of docs/ into the site; mkdocs calls this while it builds.

CONTRIBUTING.md and CHANGELOG.md become pages. Other files of the repository, such as results, are
copied to `repository/`. A link to a file that does not exist stays as it is, and fails the build.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_LINK = re.compile(r"(?<=\]\()[^)#\s]+(?=[)#])")


def on_files(files: Any, config: Any) -> Any:
    """Adds the two pages, and each file outside of docs/ that a page links to."""
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for source, page in PAGES.items():
        texts[page] = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=texts[page]))
    linked = {target for page, text in texts.items() for target in _targets(page, text)}
    for target in sorted(linked):
        if target.startswith("repository/"):
            path = ROOT / target.removeprefix("repository/")
            if path.is_file():
                files.append(File.generated(config, target, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns the page's text with links that lead to the right place within the site."""
    here = posixpath.dirname(page.file.src_uri)

    def within(match: re.Match[str]) -> str:
        target = _in_site(page.file.src_uri, match[0])
        return posixpath.relpath(target, here or ".") if target else match[0]

    return _LINK.sub(within, markdown)


def _targets(page: str, text: str) -> set[str]:
    return {target for link in _LINK.findall(text) if (target := _in_site(page, link))}


def _in_site(page: str, link: str) -> str | None:
    """Returns where a page's link leads within the site; None for an address of the web."""
    if "://" in link or link.startswith("mailto:"):
        return None
    source = {page: path for path, page in PAGES.items()}.get(page, f"docs/{page}")
    target = os.path.normpath(posixpath.join(posixpath.dirname(source), link))
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return PAGES.get(target, f"repository/{target}")
