"""Pushing to a hub: a small server that speaks as much of its language as an upload needs."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from fspo.preferences.reading import load_preferences
from fspo.preferences.records import Preference, Preferences
from fspo.preferences.writing import save_preferences

TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """Takes what is committed, file by file, from whoever has the token."""

    created: ClassVar[list[dict]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid credentials"})
        elif self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self._say(200, {"url": f"{self._base()}/datasets/ann/mine"})
        elif self.path == "/api/datasets/ann/mine/preupload/main":
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self._say(200, {"files": modes})
        elif self.path.startswith("/api/datasets/ann/mine/commit/main"):
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    value = item["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self._base()}/datasets/ann/mine/commit/0"
            self._say(200, {"success": True, "commitOid": "0", "commitUrl": url})
        else:
            self._say(200, {})  # such as the check of the card

    def do_GET(self) -> None:
        self._say(200, {"siblings": [], "id": "ann/mine", "sha": "0"})

    def _base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _say(self, status: int, answer: dict) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub():
    Hub.created, Hub.files = [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    preferences = Preferences({"ann": [Preference("q", "yes", "no"), Preference("r", "yes", "no")]})
    save_preferences(preferences, tmp_path / "mine", "# What ann likes")
    return tmp_path / "mine"


def push(
    folder: Path, name: str, hub: str, token: str, *flags: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder.parent / "hf"),
    }
    command = [sys.executable, "-m", "fspo", "push", str(folder), name, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_dataset_arrives_with_its_card_and_nothing_else(data, hub, tmp_path):
    done = push(data, "ann/mine", hub, TOKEN)
    assert done.returncode == 0, done.stderr
    assert "datasets/ann/mine" in done.stdout
    assert Hub.created[0]["type"] == "dataset"
    assert Hub.created[0].get("private") or Hub.created[0].get("visibility") == "private"
    assert set(Hub.files) == {"preferences.parquet", "README.md"}
    for name, content in Hub.files.items():
        path = tmp_path / "arrived" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert load_preferences(tmp_path / "arrived").by_user == load_preferences(data).by_user


def test_only_who_says_public_gets_public(data, hub):
    assert push(data, "ann/mine", hub, TOKEN, "--public").returncode == 0
    assert not Hub.created[0].get("private")
    assert Hub.created[0].get("visibility") in (None, "public")


@pytest.mark.parametrize(
    ("name", "token", "told"),
    [("ann/mine", "hf_wrong", "HF_TOKEN"), ("ann/mi ne", TOKEN, "no name of a dataset")],
)
def test_what_the_hub_refuses_is_told_in_one_line(data, hub, name, token, told):
    done = push(data, name, hub, token)
    assert done.returncode == 2
    assert told in done.stderr
    assert token not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Hub.files


def test_a_hub_that_is_not_there_and_a_folder_that_is_no_dataset(data, tmp_path):
    done = push(data, "ann/mine", "http://127.0.0.1:9", TOKEN)
    assert (done.returncode, "upload failed" in done.stderr) == (2, True)
    done = push(tmp_path, "ann/mine", "http://127.0.0.1:9", TOKEN)
    assert done.returncode == 2
    assert "preferences" in done.stderr
