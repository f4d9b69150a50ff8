"""A file from the package index, without pip: found, checked, and every fault told in a line."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from index_server import Index, forget_pip, index_server

from fspo import FspoError
from fspo.package_index import fetch_file

NAME = "some_model-1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 9000  # more than one piece
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = "/simple/some-model/"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    forget_pip(monkeypatch)
    with index_server() as found:
        monkeypatch.setenv("PIP_INDEX_URL", f"{found.url}/simple")
        found.pages["/files/" + NAME] = ("application/zip", CONTENT, len(CONTENT))
        found.pages[PAGE] = listing("../../files/" + NAME)
        yield found


def listing(link: str) -> tuple[str, bytes, None]:
    files = [{"filename": "some_model-0.9.tar.gz", "url": "x"}, {"filename": NAME, "url": link}]
    return JSON, json.dumps({"meta": {"api-version": "1.1"}, "files": files}).encode(), None


def html(link: str) -> tuple[str, bytes, None]:
    page = f'<!DOCTYPE html><body><a href="x.whl">x</a><br/><a href="{link}#sha256=1">{NAME}</a>'
    return "text/html", page.encode(), None


def fetch(folder: Path) -> Path:
    return fetch_file("some-model", NAME, len(CONTENT), SHA256, folder)


def refusal(folder: Path) -> str:
    """What is said, and that nothing is left of what was begun."""
    with pytest.raises(FspoError) as told:
        fetch(folder)
    assert not list(folder.glob("*.whl"))
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("page", [listing, html])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_is_found_on_pages_of_either_kind(
    index: Index, tmp_path: Path, page: object, absolute: bool
) -> None:
    base = index.url + "/" if absolute else "../../"
    index.pages[PAGE] = page(f"{base}files/{NAME}")  # type: ignore[operator]
    assert fetch(tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in index.asked] == [PAGE, f"/files/{NAME}"]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_password_goes_to_its_server_and_into_no_message(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    with index_server() as other:
        other.pages["/x/" + NAME] = index.pages["/files/" + NAME]
        monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:p%40ss@") + "/simple")
        index.pages[PAGE] = listing((f"{index.url}/" if absolute else "/") + "files/" + NAME)
        fetch(tmp_path)
        expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
        assert [headers.get("Authorization") for _, headers in index.asked] == [expected] * 2
        index.pages[PAGE] = listing(f"{other.url.replace('127.0.0.1', 'localhost')}/x/{NAME}")
        fetch(tmp_path)
        assert other.asked[0][1].get("Authorization") is None
    index.pages[PAGE] = 403
    (tmp_path / NAME).unlink()
    assert "ss@" not in (told := refusal(tmp_path))
    assert "403" in told


def test_another_file_is_not_used(index: Index, tmp_path: Path) -> None:
    index.pages[f"/files/{NAME}"] = ("x", CONTENT[:-1] + b"x", len(CONTENT))
    wrong = hashlib.sha256(CONTENT[:-1] + b"x").hexdigest()
    assert f"its sha256 is {wrong}, not {SHA256}" in refusal(tmp_path)


def test_a_larger_file_is_not_read_to_its_end(index: Index, tmp_path: Path) -> None:
    index.pages[f"/files/{NAME}"] = ("x", CONTENT + b"x", None)
    assert f"gives more than the {len(CONTENT)} bytes" in refusal(tmp_path)
    index.pages[PAGE] = (JSON, b"{" + bytes(1 << 23), None)
    assert "gives more than" in refusal(tmp_path)


def test_a_download_that_breaks_off_is_tried_again_and_then_named(
    index: Index, tmp_path: Path
) -> None:
    whole = index.pages[f"/files/{NAME}"]
    broken = ("x", CONTENT[: 1 << 20], len(CONTENT))
    index.pages[f"/files/{NAME}"] = [broken, broken, whole]
    assert fetch(tmp_path).read_bytes() == CONTENT
    (tmp_path / NAME).unlink()
    index.pages[f"/files/{NAME}"] = broken
    assert f"broke off after 1048576 of {len(CONTENT)} bytes" in refusal(tmp_path)


def test_what_is_not_there_is_named(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.pages[PAGE] = (JSON, b'{"files": []}', None)
    assert refusal(tmp_path) == f"{index.url}{PAGE}: has no {NAME}"
    for odd in (b'{"files": [{}]}', b"{", b'{"files": 1}'):
        index.pages[PAGE] = (JSON, odd, None)
        assert "gives no list of files" in refusal(tmp_path)
    index.pages[PAGE] = listing("gopher://x/" + NAME)
    assert "no address" in refusal(tmp_path)
    index.pages[PAGE] = listing("file:///etc/passwd")
    assert "names a file on this machine" in refusal(tmp_path)
    index.pages[PAGE] = listing("missing")
    assert "404" in refusal(tmp_path)
    del index.pages[PAGE]
    assert "404" in refusal(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("PIP_INDEX_URL", nobody)
    assert "refused" in refusal(tmp_path)
    for odd in ("http://[::1", "no address", "http://127.0.0.1:x/"):
        monkeypatch.setenv("PIP_INDEX_URL", odd)
        assert refusal(tmp_path).startswith(odd.rstrip("/"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
    index.pages[PAGE] = listing("../../files/" + NAME)
    for name in ("PIP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, nobody)
        assert "refused" in refusal(tmp_path)
        monkeypatch.delenv(name)
    fetch(tmp_path)
    (tmp_path / NAME).unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert refusal(tmp_path) == "PIP_NO_INDEX is set, and PIP_FIND_LINKS is not"


def test_a_missing_file_of_certificates_is_named(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "none.pem"))
    assert "none.pem: these certificates cannot be read" in refusal(tmp_path)


def test_folders_and_pages_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    place = tmp_path / "place"
    page = place / "simple" / "some-model" / "index.html"
    page.parent.mkdir(parents=True)
    (place / NAME).write_bytes(CONTENT)
    page.write_bytes(html(f"../../{NAME}")[1])
    for links in (f"{tmp_path} {place}", place.as_uri(), page.parent.as_uri(), page.as_uri()):
        if links == place.as_uri():
            (place / "index.html").write_bytes(html(NAME)[1])
        monkeypatch.setenv("PIP_FIND_LINKS", links)
        assert fetch(tmp_path).read_bytes() == CONTENT
        (tmp_path / NAME).unlink()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", (place / "simple").as_uri())
    assert fetch(tmp_path).read_bytes() == CONTENT


def test_the_index_is_the_one_that_pip_would_take(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pip.conf, then uv's variables, then pip's own; further ones after it."""
    with index_server() as other:
        monkeypatch.delenv("PIP_INDEX_URL")
        config = tmp_path / "pip.conf"
        config.write_text(
            f"[global]\nindex-url = {other.url}\nextra-index-url =\n  {other.url}/2\n"
        )
        monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
        monkeypatch.setattr("sys.prefix", str(tmp_path / "none"))
        refusal(tmp_path)
        expected = ["/some-model/", "/2/some-model/"]
        assert [path for path, _ in other.asked] == expected
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url}/simple/")
        assert fetch(tmp_path).read_bytes() == CONTENT
        (tmp_path / NAME).unlink()
        monkeypatch.setenv("PIP_INDEX_URL", f"{other.url}/3")
        refusal(tmp_path)
        assert [path for path, _ in other.asked[2:]] == ["/3/some-model/", "/2/some-model/"]
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index.url}/simple")
        assert fetch(tmp_path).read_bytes() == CONTENT
        config.write_text("index-url")
        with pytest.raises(FspoError, match=r"pip\.conf: cannot be read"):
            fetch(tmp_path)
