"""Exports: tables as parquet and CSV with a codebook, and a preference dataset to train on.

Who somebody is to a recruitment platform is exported only when asked for, into a file of its own.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select

from fspo.errors import FspoError
from fspo.files import replacing_folder, write_json, write_text
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.writing import check_place, save_preferences, write_parquet
from fspo.study.analysis import analyze, attributes, failed_too_many, name_of
from fspo.study.codebook import CODEBOOK
from fspo.study.definition import Study
from fspo.study.queue import preference
from fspo.study.records import ItemRecord, Records, read_records
from fspo.study.tables import Participant, Recruitment
from fspo.web.database import Database

# At the beginning, or behind what may part cells and lines: blanks, then what begins a formula,
# also in the width of Chinese and Japanese letters.
_FORMULA = re.compile(
    "(?:^|(?<=[;|\\t\\r\\n\\v\\f\\x85\\u2028\\u2029]))"
    "(?=[ \\u00a0\\u3000\\ufeff]*[=+@\\uff1d\\uff0b\\uff20\\uff0d\\u2212-])|^(?=[\\t\\r])"
)
_FILES = {"codebook.csv", "results.json", "study.json", "preferences"} | {
    f"{table}.{kind}" for table in CODEBOOK for kind in ("csv", "parquet")
}


def export(study: Study, database: Database, folder: Path) -> None:
    """Writes everything but who people are: `folder` is replaced, whole or not at all.

    Raises:
        FspoError: if nobody has begun, or `folder` holds anything but an export.
    """
    folder = folder.resolve()
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # A folder that lacks what every export has is somebody's own, whatever its files are called.
    others = held - _FILES if {"study.json", "codebook.csv"} <= held else held
    if others:
        raise FspoError(
            f"--out {folder}: holds something else than an export, such as {min(others)}; take "
            "another place"
        )
    check_place(folder / "preferences")
    records = read_records(database)
    if not records.people:
        raise FspoError(f"{study.name}: nobody has begun yet; there is nothing to export")
    with replacing_folder(folder) as unfinished:
        for table, rows in _tables(records).items():
            _write_table(unfinished / table, list(CODEBOOK[table]), rows)
        _write_codebook(unfinished / "codebook.csv")
        write_json(unfinished / "study.json", study.model_dump(mode="json"))
        write_json(unfinished / "results.json", analyze(study, records))
        dataset = as_preferences(study, records)
        if len(dataset):
            save_preferences(dataset, unfinished / "preferences", _card(study))


def export_recruitment(database: Database, file: Path) -> None:
    """Writes who participants are to a recruitment platform; only its owner may read the file."""
    with database.reading() as session:
        rows = session.execute(
            select(Participant.number, Participant.finished, Recruitment)
            .join(Recruitment, Recruitment.participant == Participant.id)
            .order_by(Participant.number)
        ).all()
    columns = ["participant", "finished", "prolific_pid", "study_id", "session_id"]
    table = [
        dict(zip(columns, (n, bool(f), r.prolific_pid, r.study_id, r.session_id), strict=True))
        for n, f, r in rows
    ]
    old = os.umask(0o077)
    try:
        write_text(file, _csv(columns, table))
    finally:
        os.umask(old)


def as_preferences(study: Study, records: Records) -> Preferences:
    """The labeled and the judged pairs of everybody who was attentive, as a dataset.

    Practice, attention checks, and pairs whose two answers are the same text are left out.
    """
    by_user: dict[str, list[Preference]] = {}
    users = []
    items = records.items_of()
    for person in records.people:
        if failed_too_many(study, items[person.number]):
            continue
        own = [_preference(item) for item in items[person.number] if _teaches(item)]
        if own:
            by_user[name_of(person.number)] = own
            users.append(User(name_of(person.number), attributes=attributes(study, person)))
    return Preferences(by_user, users)


def _teaches(item: ItemRecord) -> bool:
    shown = item.choice and item.stage != "practice" and not item.is_check
    return bool(shown) and item.left != item.right


def _preference(item: ItemRecord) -> Preference:
    found = preference(item.question, item.left, item.right, item.choice)
    extra = {
        "stage": item.stage,
        "chosen_method": item.chosen_method,
        "rejected_method": item.rejected_method,
        "seconds": item.seconds,
    }
    return Preference(found.prompt, found.chosen, found.rejected, extra=extra)


def _tables(records: Records) -> dict[str, list[dict[str, Any]]]:
    people = [asdict(person) | {"participant": person.number} for person in records.people]
    replies = [
        {"participant": person.number, "name": name, "value": value}
        for person in records.people
        for name, value in person.replies.items()
    ]
    items = [
        asdict(item)
        | {
            "is_check": item.is_check,
            "failed": item.failed,
            "chosen_method": item.chosen_method,
        }
        for item in records.items
    ]
    return {"participants": people, "items": items, "replies": replies}


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    kept = [{name: row[name] for name in columns} for row in rows]
    write_text(path.with_suffix(".csv"), _csv(columns, kept))
    if kept:
        write_parquet(path.with_suffix(".parquet"), kept)


def _write_codebook(path: Path) -> None:
    rows = [
        {"table": table, "column": column, "meaning": meaning}
        for table, columns in CODEBOOK.items()
        for column, meaning in columns.items()
    ]
    write_text(path, _csv(["table", "column", "meaning"], rows))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Puts an apostrophe before what a spreadsheet would take for a formula; parquet has none.

    Which sign parts cells is up to a spreadsheet's settings, so that one may begin within a text.
    """
    if isinstance(value, str):
        return _FORMULA.sub("'", value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _card(study: Study) -> str:
    return (
        f"# {study.name}\n\nChoices that participants of a study made: pairs that they labeled "
        "(`stage` is `label`), and blind questions that they judged (`judge`), where "
        "`chosen_method` and `rejected_method` say whose answers these were. Participants who "
        f"failed more than {study.exclude.failed_checks} attention checks are left out.\n"
    )
