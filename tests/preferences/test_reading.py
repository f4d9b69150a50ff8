"""Reading and writing: what goes out comes back, and every fault is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User, load_preferences
from fspo.preferences.writing import save_preferences

GOOD = {"user_id": "ann", "prompt": "q", "chosen": "yes", "rejected": "no"}
SHARED = Path(__file__).parents[3] / "shared" / "data"


def lines(path: Path, *table: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return path


def parquet(path: Path, *table: dict[str, Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(table)), path)
    return path


text = st.text(st.characters(codec="utf-8"), max_size=20)
answer = text.filter(str.strip)
pairs = st.builds(Preference, text, answer, answer).filter(lambda p: p.chosen != p.rejected)
datasets = st.dictionaries(answer, st.lists(pairs, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(by_user=datasets, description=text, layout=st.sampled_from(["parquet", "jsonl"]))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, by_user: Any, description: str, layout: Any
) -> None:
    folder = tmp_path_factory.mktemp("written") / "data"
    users = [User(u, description, {"age": 3, "of": description}, "test") for u in by_user]
    save_preferences(Preferences(by_user, users), folder, "A card.", layout)
    read = load_preferences(folder)
    assert read.by_user == by_user
    assert list(read.users.values()) == users
    assert (folder / "README.md").read_text(encoding="utf-8").endswith("---\n\nA card.\n")


@pytest.mark.parametrize("layout", ["parquet", "jsonl"])
def test_further_columns_are_kept(tmp_path: Path, layout: Any) -> None:
    own = [Preference("q", "a", "b", extra={"score": 2}), Preference("r", "a", "b")]
    save_preferences(Preferences({"u": own}), tmp_path / "d", "", layout)
    read = load_preferences(tmp_path / "d").by_user["u"]
    assert [p.extra for p in read] == [{"score": 2}, {"score": None}]
    assert [p.row for p in read][1].endswith("2")


def test_the_hub_library_opens_the_folder_as_it_is(tmp_path: Path) -> None:
    from datasets import load_dataset

    users = [User("u", "likes short answers", {"a": 1}, "train")]
    own = {"u": [Preference("q", "a", "b")]}
    save_preferences(Preferences(own, users), tmp_path / "d", "card")
    cache = str(tmp_path / "cache")
    table = load_dataset(str(tmp_path / "d"), split="train", cache_dir=cache)
    assert table[0] == {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    people = load_dataset(str(tmp_path / "d"), "users", split="train", cache_dir=cache)
    assert people[0]["description"] == "likes short answers"


def test_whole_numbers_as_user_ids_and_a_single_file(tmp_path: Path) -> None:
    read = load_preferences(parquet(tmp_path / "x.parquet", GOOD | {"user_id": 7}))
    assert list(read.by_user) == ["7"]
    assert read.by_user["7"][0].row == "x.parquet row 1"


FAULTS = {
    "missing column": ({"user_id": "u", "prompt": "q", "chosed": "a", "rejected": "b"},
                       "line 2: there is no column 'chosen'; is it 'chosed'"),
    "null": (GOOD | {"chosen": None}, "line 2: chosen is empty"),
    "NaN": (GOOD | {"rejected": float("nan")}, "line 2: rejected is empty"),
    "number": (GOOD | {"prompt": 3}, "line 2: prompt is int, not text"),
    "list": (GOOD | {"chosen": ["a"]}, "line 2: chosen is list, not text"),
    "blank": (GOOD | {"rejected": " \n"}, "line 2: rejected is blank"),
    "no user": (GOOD | {"user_id": ""}, "line 2: user_id is blank"),
    "equal": (GOOD | {"rejected": "yes"}, "line 2: chosen and rejected are the same"),
    "surrogate": (GOOD | {"chosen": "\ud800"}, "line 2: chosen holds half a character"),
    "not an object": ([1, 2], "line 2: not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_row_is_named(tmp_path: Path, name: str) -> None:
    row, message = FAULTS[name]
    path = lines(tmp_path / "x.jsonl", GOOD, row)
    with pytest.raises(FspoError) as caught:
        load_preferences(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_faulty_files_are_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "x.parquet", *[GOOD] * 100).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "latin.jsonl").write_bytes(b'{"user_id": "caf\xe9"}\n')
    (tmp_path / "half.jsonl").write_bytes(b'{"user_id": "u", \n')
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "cut.parquet": "damaged or cut off",
        "latin.jsonl": "invalid UTF-8 at byte 16",
        "half.jsonl": "line 1: not JSON",
        "empty.jsonl": "holds no preferences",
        "none.parquet": "no such file",
        "folder": "holds no preferences.parquet",
    }.items():
        with pytest.raises(FspoError, match=message):
            load_preferences(tmp_path / name)


def test_invalid_text_in_parquet_is_named(tmp_path: Path) -> None:
    broken = pyarrow.array([b"\xff\xfe"]).view(pyarrow.utf8())
    columns = {key: pyarrow.array([value]) for key, value in GOOD.items()} | {"chosen": broken}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(FspoError, match=r"x\.parquet.*UTF-8"):
        load_preferences(tmp_path / "x.parquet")


def test_faults_in_the_table_of_users_are_named(tmp_path: Path) -> None:
    lines(tmp_path / "preferences.jsonl", GOOD)
    for table, message in [
        ([{"user_id": "ann", "attributes": "{"}], "line 1: attributes: not JSON"),
        ([{"user_id": "ann", "attributes": "[]"}], "line 1: attributes: has to be a JSON object"),
        ([{"user_id": "ann"}, {"user_id": "ann"}], "line 2: user 'ann' stands here a second time"),
        ([{"user_id": None}], "line 1: user_id is empty"),
    ]:
        lines(tmp_path / "users.jsonl", *table)
        with pytest.raises(FspoError, match=message):
            load_preferences(tmp_path)


def test_a_name_that_is_neither_file_nor_dataset(tmp_path: Path) -> None:
    with pytest.raises(FspoError, match="no such file or folder"):
        load_preferences("nobody-has-this/dataset-of-preferences")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real people's data is not beside this clone")
def test_real_peoples_preferences() -> None:
    read = load_preferences(SHARED / "polis_bowling_green")
    assert (len(read), len(read.by_user)) == (22_769, 959)
    with pytest.raises(FspoError, match="row 8111: chosen and rejected are the same"):
        load_preferences(SHARED / "ukpconvarg1")  # five of its 65,340 rows are ties
