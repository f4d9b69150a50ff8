"""Exports: every column explained, nobody named, and a dataset that can be trained on."""

from __future__ import annotations

import csv
import json
import re

import pyarrow.parquet
import pytest

from fspo.errors import FspoError
from fspo.preferences.reading import load_preferences
from fspo.study.codebook import CODEBOOK
from fspo.study.export import _cell, export, export_recruitment
from fspo.study.visiting import Page

WHO = {"PROLIFIC_PID": "pid-5f00beef", "STUDY_ID": "study-77aa", "SESSION_ID": "session-99cc"}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(run, walk_in, attentive, tmp_path):
    walker = walk_in(run)
    page = walker.begin(**WHO)
    while not page.action.endswith("/replies"):
        page = walker.next(page, attentive)
    walker.send(page, ask_age="30-49", ask_remarks="Fine, thanks.")
    inattentive = walk_in(run)
    inattentive.walk(lambda page: "right" if attentive(page) == "left" else "left")
    unfinished = walk_in(run)
    unfinished.next(unfinished.next(unfinished.begin()))
    export(run.study, run.database, tmp_path / "out")
    return tmp_path / "out"


def test_tables_and_codebook_agree(out):
    book = {(row["table"], row["column"]) for row in rows(out / "codebook.csv")}
    for table in CODEBOOK:
        parquet = pyarrow.parquet.read_table(out / f"{table}.parquet")
        assert {(table, name) for name in parquet.column_names} == {
            pair for pair in book if pair[0] == table
        }
        assert list(rows(out / f"{table}.csv")[0]) == parquet.column_names
        assert len(rows(out / f"{table}.csv")) == parquet.num_rows
    assert all(row["meaning"] for row in rows(out / "codebook.csv"))
    assert len(rows(out / "items.csv")) == 66


def test_nobody_is_named_unless_asked(run, out, tmp_path):
    for path in out.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert not any(value.encode() in held for value in WHO.values())
    export_recruitment(run.database, tmp_path / "who.csv")
    [row] = rows(tmp_path / "who.csv")
    assert row == {
        "participant": "0", "finished": "True", "prolific_pid": WHO["PROLIFIC_PID"],
        "study_id": WHO["STUDY_ID"], "session_id": WHO["SESSION_ID"],
    }  # fmt: skip
    assert (tmp_path / "who.csv").stat().st_mode & 0o077 == 0


def test_the_dataset_loads_and_says_what_was_chosen(out):
    found = load_preferences(out / "preferences")
    assert list(found.by_user) == ["participant-0000"]  # the second one failed the checks
    own = found.by_user["participant-0000"]
    assert [p.extra["stage"] for p in own] == ["label"] * 8 + ["judge"] * 11
    assert {p.extra["chosen_method"] for p in own[8:]} == {"personal"}
    assert all(p.chosen == f"personal on {p.prompt}" for p in own[8:])
    assert found.users["participant-0000"].attributes == {"age": "30-49", "language": "en"}
    card = (out / "preferences/README.md").read_text("utf-8")
    assert "failed more than 0 attention checks" in card


def test_results_and_definition_stand_beside(out):
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["participants"]["begun"] == 3
    assert json.loads((out / "study.json").read_text("utf-8"))["judge_questions"] == 11


def test_an_export_replaces_an_export_and_nothing_else(run, out):
    export(run.study, run.database, out)
    (out / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(FspoError, match=r"such as notes\.txt"):
        export(run.study, run.database, out)
    assert (out / "notes.txt").exists()


def test_nothing_to_export(start, definition, tmp_path):
    running = start(definition)
    with pytest.raises(FspoError, match="nobody has begun yet"):
        export(running.study, running.database, tmp_path / "out")


def test_one_who_only_began_gives_tables_without_a_dataset(run, walker, tmp_path):
    assert isinstance(walker.begin(), Page)
    export(run.study, run.database, tmp_path / "out")
    assert not (tmp_path / "out/preferences").exists()
    assert len(rows(tmp_path / "out/items.csv")) == 22


SPREADSHEET = [
    "=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "a;=1", "a; =1", "a\n=1", "a\t@x", "a|+1",
    "\uff1d1+1", "a;\uff0b1", "\uff201", "\uff0d1", " =1", "\u3000=1", ";;=1",
]  # fmt: skip


@pytest.mark.parametrize("text", SPREADSHEET)
def test_no_cell_begins_a_formula_whatever_parts_cells(text):
    cells = re.split(r"[;|\t\r\n]", _cell(text))
    assert not [c for c in cells if re.match(r"\s*[=+@\uff1d\uff0b\uff20\uff0d-]", c)]
    assert _cell(text).replace("'", "") == text


def test_other_texts_and_numbers_stay_as_they_are():
    for value in ("a=b", "well-known", "2; 3", "", -1.5, 7, None, "it's"):
        assert _cell(value) == value


def test_an_export_does_not_replace_somebodys_preferences(run, tmp_path):
    out = tmp_path / "mine"
    own = out / "preferences"
    own.mkdir(parents=True)
    (own / "preferences.jsonl").write_text("years of work", "utf-8")
    with pytest.raises(FspoError, match="something else than an export, such as preferences"):
        export(run.study, run.database, out)
    assert (own / "preferences.jsonl").read_text("utf-8") == "years of work"
