"""The how-to adds a fourth domain in under 60 lines, and its commands do what it says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fspo.preferences.reading import load_preferences

HOWTO = Path(__file__).parents[2] / "docs" / "how-to" / "domain.md"
FILE = re.compile(r"^`([\w./]+)`[^\n]*\n```\w+\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^    fspo (.*)$", re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What somebody has who copies every file of the how-to."""
    here = tmp_path_factory.mktemp("howto")
    files = FILE.findall(HOWTO.read_text(encoding="utf-8"))
    assert [name.split("/")[-1] for name, _ in files] == ["domain.yaml", "dinner.txt", "domain.py"]
    for name, content in files:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(content, encoding="utf-8")
    return here


def test_it_is_short():
    assert len(HOWTO.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_its_commands_preview_and_make_preferences_with_the_real_model(folder):
    commands = COMMAND.findall(HOWTO.read_text(encoding="utf-8"))
    assert len(commands) == 2
    for command in commands:
        line = [sys.executable, "-m", "fspo", *shlex.split(command)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
        if "--preview" in command:
            questions = (folder / "cooking" / "questions" / "dinner.txt").read_text("utf-8")
            assert any(question in done.stdout for question in questions.splitlines())
            assert not (folder / "cooking-data").exists()
    data = load_preferences(folder / "cooking-data")
    assert len(data.users) >= 10
    checks = json.loads((folder / "cooking-data" / "checks.json").read_text(encoding="utf-8"))
    assert checks["preferences"] == len(data) >= 50
    # Its own measure has labeled: who wants amounts gets more numbers than who does not.
    numbers = {True: [0, 0], False: [0, 0]}
    for user_id, preference in data:
        exact = "exact" in data.users[user_id].attributes["amounts"]
        for place, text in enumerate((preference.chosen, preference.rejected)):
            numbers[exact][place] += sum(word[0].isdigit() for word in text.split())
    assert numbers[True][0] / numbers[True][1] > numbers[False][0] / numbers[False][1]
