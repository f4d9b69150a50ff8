"""The three released layouts, on rows of their form."""

import csv
import json
from pathlib import Path

import pytest

from fspo import FspoError, Preference
from fspo.preferences.importing import import_released

PAIR = {"prompt": "q", "response_x": "X", "response_y": "Y", "scorer_level": "child",
        "level_x": "a", "level_y": "b"}  # fmt: skip


def test_persona_responses(tmp_path: Path) -> None:
    row = {"x": "q", "yw": "good", "yl": "bad", "level": "1", "score_persona": "A nurse, 40."}
    path = tmp_path / "train.json"
    path.write_text(json.dumps([row, row | {"x": "r"}, row | {"score_persona": "A cook."}]))
    read = import_released("persona-iterative-responses", path)
    nurse, cook = read.by_user
    assert read.by_user[nurse] == [Preference("q", "good", "bad"), Preference("r", "good", "bad")]
    assert read.by_user[nurse][0].extra == {"level": "1"}
    assert [read.users[u].description for u in (nurse, cook)] == ["A nurse, 40.", "A cook."]


@pytest.mark.parametrize("layout", ["steered-reviews", "elix-generations"])
@pytest.mark.parametrize("one", [1, 1.0, "1"])
def test_scored_pairs(
    tmp_path: Path, layout: str, one: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    labels = [0, one, 0.5, 0]
    table = [PAIR | {"label": label} for label in labels]
    table[3]["response_y"] = "X"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    read = import_released(layout, path)
    assert read.by_user == {"child": [Preference("q", "X", "Y"), Preference("q", "Y", "X")]}
    assert "2 rows without a preference" in capsys.readouterr().err


def test_a_folder_of_csv_files(tmp_path: Path) -> None:
    for name in "ab":
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*PAIR, "label"])
            writer.writeheader()
            writer.writerow(PAIR | {"label": 0, "prompt": name})
    read = import_released("elix-generations", tmp_path)
    assert [p.prompt for _, p in read] == ["a", "b"]


def test_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(PAIR) + "\n")
    with pytest.raises(FspoError, match="no column 'label'; it has prompt"):
        import_released("steered-reviews", path)
    with pytest.raises(FspoError, match="no layout 'reviews'; there are persona-iterative"):
        import_released("reviews", path)
    with pytest.raises(FspoError, match="holds no table"):
        import_released("steered-reviews", (tmp_path / "y").mkdir() or tmp_path / "y")
