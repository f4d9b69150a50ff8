"""The command line, from a new file to an export."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fspo.errors import FspoError
from fspo.study.commands import study_app


def call(*arguments, **options):
    found = CliRunner().invoke(study_app, [str(a) for a in arguments], **options)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "study.yaml"
    assert call("new", path).exit_code == 0
    return path


def test_a_new_study_can_be_walked_through(file):
    with pytest.raises(FspoError, match="exists; remove it"):
        call("new", file)
    told = call("preview", file).output
    assert "--- Your judgment 12 of 12" in told
    assert told.count("<- attention check") == 2
    assert told == call("preview", file).output
    assert told != call("preview", file, "--participant", "1").output
    with pytest.raises(FspoError, match="--language xx"):
        call("preview", file, "--language", "xx")


def test_simulate_results_and_export(file, tmp_path):
    database = tmp_path / "study.db"
    found = call("simulate", file, "--participants", "3", "--rate", "0.7", "--database", database)
    assert found.exit_code == 0
    assert json.loads(found.output)["agrees"]
    assert "personal against base: 69.7%" in call("results", file).output
    [one] = json.loads(call("results", file, "--json").output)["comparisons"]
    assert (one["wins"], one["answers"]) == (23, 33)
    who = tmp_path / "who.csv"
    call("export", file, "--out", tmp_path / "out", "--recruitment", who)
    assert (tmp_path / "out/preferences/preferences.parquet").is_file()
    assert "synthetic-2" in who.read_text("utf-8")


def test_results_of_nothing(file):
    with pytest.raises(FspoError, match="nobody has been served yet"):
        call("results", file)


@pytest.mark.parametrize("reach", [["--host", "0.0.0.0"], ["--behind-proxy"]])
def test_who_listens_elsewhere_needs_a_researcher(file, reach):
    with pytest.raises(FspoError, match=f"{reach[0]}.*first set a researcher's password"):
        call("serve", file, *reach)


def test_setting_a_password(file):
    told = call("researcher", file, "ann", input="long enough, this\nlong enough, this\n")
    assert "ann can sign in" in told.output
    told = call("researcher", file, "bob", env={"FSPO_RESEARCHER_PASSWORD": "long enough, too"})
    assert "bob can sign in" in told.output


def test_power():
    found = json.loads(call("power", "--rate", "0.682", "--people", "50").output)
    assert found["people"] == 50


def test_a_policy_that_is_not_there_is_named(file, monkeypatch):
    text = file.read_text("utf-8").replace("personal, policy: smollm2-135m-instruct",
                                           "personal, policy: no/such/policy")  # fmt: skip
    file.write_text(text, "utf-8")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FspoError, match=r"methods\.personal\.policy: "):
        call("serve", file)
