"""Writes a result file as rows of benchmarks/results.csv: one for each figure.

    python benchmarks/record.py FILE.json --what demo --machine "2 cores of ..." --command "..."

FILE is `results.json` or `table.json` of a run, or what a benchmark printed. Rows of the same
`what` and `seed` are replaced. Settings, examples, and each user's own figures are left out. Where
users' outcomes are in the file, intervals of win rates and differences are computed from them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fspo import __version__
from fspo.evaluation.summaries import summary
from fspo.evaluation.win_rates import difference

TABLE = Path(__file__).parent / "results.csv"

# Not figures: settings, examples, and what is there for each user or each point of a curve.
_LEFT_OUT = {
    "by_user", "calibration", "curve", "disagreement", "evaluation", "example", "load", "machine",
    "malformed", "n", "p", "plan", "policies", "policy", "preference_accuracy", "published",
    "recipe", "seed", "seeds", "settings", "training", "versions", "warnings",
}  # fmt: skip
# Below these stand the names of methods.
_METHODS = ("methods", "predictions", "predictors", "differences", "descriptions", "contestants")
_MEANS = (
    "winrate",
    "mean",
    "difference",
    "share",
    "accuracy",
    "gain",
    "value",
)  # what `ci95` is about


class Row(NamedTuple):
    """A figure; `low` and `high` are its 95% interval, or empty."""

    what: str
    method: str
    seed: str
    column: str
    value: str
    low: str
    high: str
    users: str
    machine: str
    version: str
    command: str


def rows(
    result: Mapping[str, Any], what: str, machine: str, command: str, version: str | None = None
) -> list[Row]:
    """Returns the rows of a result.

    Args:
        result: what the file holds.
        what: what was run, the same for all seeds.
        machine: in words.
        command: that made it.
        version: of fspo; by default the one in the file, or this one.
    """
    _new_intervals(result)
    versions = result.get("versions")
    noted = versions.get("fspo") if isinstance(versions, dict) else None
    version = version or noted or __version__
    seed = result.get("seed", "")
    users = result.get("users")
    if isinstance(users, dict):
        users = users.get("test")
        result = {key: part for key, part in result.items() if key != "users"}
    found = []
    for path, value, interval in _figures(result, ()):
        own_seed = seed
        if "runs" in path:  # a table's part of one seed
            place = path.index("runs")
            own_seed = result["seeds"][int(path[place + 1])]
            path = path[:place] + path[place + 2 :]
        method, column = _named(path)
        low, high = (_text(end) for end in interval or ("", ""))
        held = (what, method, _text(own_seed), column, _text(value), low, high, _text(users))
        found.append(Row(*held, machine, version, command))
    return found


def _figures(
    value: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], float, list[float] | None]]:
    """Yields each number with its place, and the interval that stands beside it."""
    if isinstance(value, list):
        parts: Iterable[tuple[str, Any]] = (
            (str(part.get("contestant", index)) if isinstance(part, dict) else str(index), part)
            for index, part in enumerate(value)
        )
    elif isinstance(value, dict):
        parts = value.items()
    else:
        return
    parts = [(key, part) for key, part in parts if key not in _LEFT_OUT and "ci95" not in key]
    for key, part in parts:
        if isinstance(part, bool) or (key == "by_group" and "predictions" in path):
            continue
        if isinstance(part, int | float):
            yield (*path, key), part, _interval(value, key)
        elif key == "by_shots" and isinstance(part, dict):
            every = value.get("ci95") or {}
            for shots, accuracy in part.items():
                if isinstance(accuracy, int | float):
                    yield (*path, f"{shots} shots"), accuracy, every.get(shots)
        else:
            yield from _figures(part, (*path, key))


def _interval(beside: Any, key: str) -> list[float] | None:
    if not isinstance(beside, dict):
        return None
    found = beside.get(f"{key}_ci95") or (beside.get("ci95") if key in _MEANS else None)
    return found if isinstance(found, list) else None


def _named(path: tuple[str, ...]) -> tuple[str, str]:
    """Returns the method that a figure's place names, if any, and the rest of the place."""
    for place, key in enumerate(path[:-1]):
        if key in _METHODS:
            kind = "" if key == "methods" else f"{key}: "
            rest = [part for part in path[:place] if part != "columns"] + list(path[place + 2 :])
            return path[place + 1], kind + ": ".join(rest)
    return "", ": ".join(path)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _new_intervals(value: Any, seed: int = 0) -> None:
    """Puts today's intervals in place of the file's, wherever outcomes by user are there."""
    if not isinstance(value, dict):
        return
    seed = value.get("seed", seed) if isinstance(value.get("seed", seed), int) else seed
    if "winrate" in value and "by_user" in value:
        value["ci95"] = summary(value["by_user"], seed, "winrate")["ci95"]
    methods = value.get("methods")
    if isinstance(methods, dict):
        outcomes = {name: own["by_user"] for name, own in methods.items() if "by_user" in own}
        leads = value.get("differences") or {}
        subject = next((name for name in outcomes if name not in leads and name != "base"), None)
        for name in set(outcomes) & set(leads):
            if subject is not None:
                leads[name] = difference(outcomes[subject], outcomes[name], seed)
    for part in value.values():
        _new_intervals(part, seed)


def read() -> list[Row]:
    """Returns the table's rows."""
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def write(table: Iterable[Row]) -> None:
    """Writes the table, in the order of what was run."""
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        ordered = sorted(dict.fromkeys(table), key=lambda row: (row.what, row.seed))
        writer.writerows(ordered)


def main() -> None:
    """Replaces the rows of one result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    for name in ("what", "machine", "command"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    result = json.loads(given.file.read_text(encoding="utf-8"))
    new = rows(result, given.what, given.machine, given.command)
    replaced = {(row.what, row.seed) for row in new}
    write([row for row in read() if (row.what, row.seed) not in replaced] + new)


if __name__ == "__main__":
    main()
