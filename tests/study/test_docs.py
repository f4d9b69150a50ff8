"""docs/how-to/study.md says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from fspo.study.commands import study_app
from fspo.study.power import people_needed, report
from fspo.web.database import Base

DOCS = (Path(__file__).parents[2] / "docs/how-to/study.md").read_text("utf-8")


def test_every_command_and_every_table_is_told_of():
    commands = {c.name or c.callback.__name__ for c in study_app.registered_commands}
    assert set(re.findall(r"fspo study (\w+) study\.yaml", DOCS)) | {"power"} == commands
    tables = {name for name in Base.metadata.tables if name.startswith("study_")}
    assert set(re.findall(r"`(study_\w+)`", DOCS)) == tables


def test_the_methods_of_the_paper_are_a_definition(start, definition):
    [text] = re.findall(r"```yaml\n(.*?)```", DOCS, re.S)
    running = start(definition | yaml.safe_load(text))
    assert running.study.comparisons == [("FSPO", "base"), ("FSPO", "SFT")]


def test_the_numbers_are_those_of_the_program():
    assert "30 people are needed instead of 15" in DOCS
    assert people_needed(11, 0.6, 0.1) == 30
    found = report(0.6, 11, None, 0.1, 0.8, 0.05)
    assert found["people_needed_if_all_answers_were_independent"] == 15
