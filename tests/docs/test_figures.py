"""The figures of the documentation are in benchmarks/results.csv, and the table can be added to."""

import csv
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results.csv"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "results").glob("*.md")),
    *sorted((ROOT / "docs" / "experiments").glob("*.md")),
]
# Of runs whose files were never kept: an early ELIX, and asides of the notebook on real people.
NO_FILE = {
    ("54.2", "34.4", "74.0"),
    ("4.5", "+0.9", "+8.2"),
    ("3.8", "+0.3", "+7.2"),
    ("4.0", "+0.5", "+7.5"),
    ("0.4", "-0.7", "+1.4"),
    ("1.1", "0.0", "2.1"),
}
# A figure with its interval: 80.5 (72.9 to 87.5), **0.718** (...), +7.4 (+2.4 to +12.3).
FIGURE = re.compile(r"([-+]?\d+\.\d+)\W{0,4} \(([-+]?\d+\.\d+) to ([-+]?\d+\.\d+)\)")
CELL = re.compile(r"[-+]?\d+\.\d+")


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(number: str, value: str) -> bool:
    """Whether `number` is how a page writes `value`: rounded, as it is or in percent."""
    digits = len(number.partition(".")[2])
    half = 0.5001 * 10**-digits
    return any(abs(float(number) - scale * float(value)) <= half for scale in (1, 100))


def is_there(figure: tuple[str, str, str], table: list[dict[str, str]]) -> bool:
    value, low, high = figure
    return any(
        written(value, row["value"]) and written(low, row["low"]) and written(high, row["high"])
        for row in table
        if row["low"]
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_each_figure_with_an_interval_is_a_row(page: Path, table: list[dict[str, str]]) -> None:
    figures = set(FIGURE.findall(page.read_text(encoding="utf-8"))) - NO_FILE
    assert [figure for figure in sorted(figures) if not is_there(figure, table)] == []


def test_a_figure_that_is_no_row_is_found(table: list[dict[str, str]]) -> None:
    assert is_there(("80.5", "72.9", "87.5"), table)
    assert not is_there(("80.5", "72.9", "87.6"), table)
    assert not is_there(("81.5", "72.9", "87.5"), table)


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading: its first cell, and the others."""
    text = (ROOT / "docs" / "results" / page).read_text(encoding="utf-8")
    lines = text[text.index(f"\n{heading}\n") :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| --- "))
    found = {}
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip(" *") for cell in line.strip("|").split("|"))
        found[first] = cells
    return found


@pytest.mark.parametrize(
    ("heading", "what", "shots"),
    [
        ("## Votes on statements", "real-people-polis", {0: "seen", 4: "unseen"}),
        ("## Choices between arguments", "real-people-arguments", {0: "unseen"}),
    ],
)
def test_accuracies_of_real_people(
    heading: str, what: str, shots: dict[int, str], table: list[dict[str, str]]
) -> None:
    own = {}
    for row in table:
        if row["what"] == what:
            own[(row["method"], row["column"])] = row["value"]
    counts = ("0", "4", "8") if what.endswith("polis") else ("0", "8")
    for method, cells in rows_of("real-people.md", heading).items():
        name = method.removeprefix("all ").replace("non-personalized DPO", "DPO without users")
        for start, kind in shots.items():
            for place, count in enumerate(counts):
                value = own[(name, f"predictors: {kind}: {count} shots")]
                assert written(cells[start + place], value), (method, kind, count)


@pytest.mark.parametrize(
    ("heading", "what"),
    [
        ("## By number of shots", "training-shots-2cores"),
        ("## By length of responses", "training-length-2cores"),
        ("## By length of the context", "training-context-2cores"),
    ],
)
def test_pairs_a_second(heading: str, what: str, table: list[dict[str, str]]) -> None:
    speeds = [row["value"] for row in table if row["what"] == what and "pairs" in row["column"]]
    rows = rows_of("speed.md", heading)
    assert len(rows) >= 3
    for cells in rows.values():
        for speed in (cells[0], cells[1], cells[3]):
            assert any(written(speed, value) for value in speeds), speed


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", ROOT / "benchmarks" / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TABLE", tmp_path / "results.csv")
    return module


def test_a_result_is_recorded_once_for_each_seed(
    record: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, rate in ((0, 60.0), (1, 70.0), (0, 65.0)):
        result = {
            "seed": seed,
            "users": {"train": 9, "test": 2},
            "methods": {"FSPO": {"winrate": rate, "ci95": [50.0, 80.0], "n": 4, "p": 0.1}},
            "predictions": {"FSPO": {"by_shots": {"0": 0.5, "4": 0.75}, "ci95": {"4": [0.6, 0.9]}}},
            "policy": {"beta": 0.1},
            "versions": {"fspo": "0.1.0"},
        }
        (tmp_path / "r.json").write_text(json.dumps(result))
        line = ["--what", "demo", "--machine", "2 cores", "--command", "make demo"]
        monkeypatch.setattr("sys.argv", ["record.py", str(tmp_path / "r.json"), *line])
        record.main()
    found = {(r.seed, r.column): (r.method, r.value, r.low, r.high) for r in record.read()}
    assert found[("0", "winrate")] == ("FSPO", "65", "50", "80")
    assert found[("1", "winrate")] == ("FSPO", "70", "50", "80")
    assert found[("0", "predictions: 4 shots")] == ("FSPO", "0.75", "0.6", "0.9")
    assert found[("0", "predictions: 0 shots")] == ("FSPO", "0.5", "", "")
    assert len(found) == 6
    assert {(r.users, r.machine, r.version, r.command) for r in record.read()} == {
        ("2", "2 cores", "0.1.0", "make demo")
    }


def test_intervals_are_those_of_today_where_each_users_outcomes_are_there(
    record: ModuleType,
) -> None:
    outcomes = {f"u{index}": [100.0, 100.0] for index in range(4)}
    methods = {"FSPO": {"winrate": 100.0, "ci95": [100.0, 100.0], "by_user": outcomes}}
    [row] = record.rows({"methods": methods}, "demo", "2 cores", "make demo")
    assert (row.value, row.high) == ("100", "100")
    assert float(row.low) < 80  # four users who won are no proof
