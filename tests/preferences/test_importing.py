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


def test_a_persona_may_be_a_record(tmp_path: Path) -> None:
    """As in the released files, where it has an id beside the description."""
    persona = {"persona_uuid": "309f", "persona_description": "A nurse, 40."}
    row = {"x": "q", "yw": "good", "yl": "bad", "level": "1"}
    (tmp_path / "a.json").write_text(json.dumps([row | {"score_persona": persona}]))
    (tmp_path / "b.json").write_text(json.dumps([row | {"score_persona": "A nurse, 40."}]))
    record, plain = (
        import_released("persona-iterative-responses", tmp_path / name)
        for name in ("a.json", "b.json")
    )
    assert list(record.by_user) == list(plain.by_user)
    (user,) = record.users.values()
    assert user.description == "A nurse, 40."
    assert user.attributes == {"persona_uuid": "309f"}


@pytest.mark.parametrize("layout", ["steered-reviews", "elix-generations"])
@pytest.mark.parametrize("one", [1, 1.0, "1"])
def test_scored_pairs(
    tmp_path: Path, layout: str, one: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    labels = [0, one, 0.5, 0, None]
    table = [PAIR | {"label": label} for label in labels]
    table[3]["response_y"] = "X"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    read = import_released(layout, path)
    assert read.by_user == {"child": [Preference("q", "X", "Y"), Preference("q", "Y", "X")]}
    assert "3 rows without a preference" in capsys.readouterr().err


def test_a_folder_of_csv_files(tmp_path: Path) -> None:
    for name in "ab":
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*PAIR, "label"])
            writer.writeheader()
            writer.writerow(PAIR | {"label": 0, "prompt": name})
    read = import_released("elix-generations", tmp_path)
    assert [p.prompt for _, p in read] == ["a", "b"]


def test_long_answers_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"prompt,response_x,response_y,label,scorer_level\nq,{'x' * 200_000},y,0,u\n")
    (_, preference), *_ = import_released("elix-generations", path)
    assert preference.chosen == "x" * 200_000


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text((json.dumps(PAIR | {"label": 0}) + "\n") * 2)
    assert len(import_released("elix-generations", path)) == 2


def test_faults_in_rows_are_named(tmp_path: Path) -> None:
    header = "prompt,response_x,response_y,label,scorer_level\n"
    for name, written, message in [
        ("a.csv", header + "q,x,y,0,u,more\n", "line 2: not as many fields as the header has"),
        ("b.csv", header + "q,x\n", "line 2: not as many fields as the header has"),
        ("c.json", json.dumps([PAIR | {"label": 0, "prompt": ["q"]}]), "prompt is not text"),
        ("d.json", json.dumps([PAIR | {"label": 0, "prompt": None}]), "prompt is not text"),
        ("e.json", json.dumps([PAIR | {"label": 0, "scorer_level": " "}]), "level is blank"),
        ("f.json", "[" * 100_000, "not JSON"),
    ]:
        (tmp_path / name).write_text(written)
        with pytest.raises(FspoError, match=message):
            import_released("steered-reviews", tmp_path / name)


def test_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(PAIR) + "\n")
    with pytest.raises(FspoError, match="no column 'label'; it has prompt"):
        import_released("steered-reviews", path)
    with pytest.raises(FspoError, match="no layout 'reviews'; there are persona-iterative"):
        import_released("reviews", path)
    with pytest.raises(FspoError, match="holds no table"):
        import_released("steered-reviews", (tmp_path / "y").mkdir() or tmp_path / "y")
