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


@pytest.mark.parametrize("layout", ["parquet", "jsonl"])
def test_the_same_preferences_are_the_same_bytes(tmp_path: Path, layout: Any) -> None:
    def written(name: str, attributes: dict[str, int]) -> dict[str, bytes]:
        own = {"u": [Preference("q", "a", "b", extra={"score": 2})]}
        people = [User("u", "d", attributes)]
        save_preferences(Preferences(own, people), tmp_path / name, "card", layout)
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    assert written("one", {"a": 1, "b": 2}) == written("two", {"b": 2, "a": 1})


def test_what_is_no_dataset_is_not_replaced(tmp_path: Path) -> None:
    own = Preferences({"u": [Preference("q", "a", "b")]})
    save_preferences(own, tmp_path / "d", "first")
    save_preferences(own, tmp_path / "d", "second")
    assert (tmp_path / "d" / "README.md").read_text().endswith("second\n")
    (tmp_path / "d" / "thesis.tex").write_text("years of work")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "README.md").write_text("of something else")
    for name, held in {"d": "thesis.tex", "e": "README.md"}.items():
        with pytest.raises(FspoError, match=f"something else than preferences, such as {held}"):
            save_preferences(own, tmp_path / name, "third")
    assert (tmp_path / "d" / "thesis.tex").read_text() == "years of work"


HALF = "\ud800"  # half a character: JSON's escapes can name it, UTF-8 cannot hold it
UNWRITABLE = {
    "kinds": ([{"s": 1}, {"s": "x"}], "parquet", "column 's' cannot be written"),
    "half": ([{"s": HALF}], "parquet", "column 's' cannot be written"),
    "half in JSON": ([{"s": HALF}], "jsonl", "line 1: holds half a character"),
    "no fields": ([{"s": {}}], "parquet", "cannot be written as parquet"),
    "not JSON": ([{"s": b"x"}], "jsonl", "line 1: JSON cannot hold this"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    extras, layout, message = UNWRITABLE[name]
    own = {"u": [Preference("q", "a", "b", extra=extra) for extra in extras]}
    with pytest.raises(FspoError, match=message):
        save_preferences(Preferences(own), tmp_path / "d", "", layout)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_further_column_does_not_hide_one_of_ours(tmp_path: Path) -> None:
    own = [Preference("q", "a", "b", extra={"prompt": "another"})]
    save_preferences(Preferences({"u": own}), tmp_path / "d", "")
    assert load_preferences(tmp_path / "d").by_user == {"u": own}


def test_lines_end_where_json_lines_end_and_may_open_with_a_mark(tmp_path: Path) -> None:
    odd = json.dumps(GOOD | {"chosen": "a\u2028b\x85c"}, ensure_ascii=False)
    path = tmp_path / "x.jsonl"
    path.write_bytes(f"\ufeff{odd}\r\n\r\n{json.dumps(GOOD)}\r\n".encode())
    first, second = load_preferences(path).by_user["ann"]
    assert first.chosen == "a\u2028b\x85c"
    assert (first.row, second.row) == ("x.jsonl line 1", "x.jsonl line 3")


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
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "late.jsonl").write_bytes(b"\n" * 99_999 + b'{"user_id": "caf\xe9"}\n')
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["prompt", "prompt"])
    pyarrow.parquet.write_table(twice, tmp_path / "twice.parquet")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "cut.parquet": "damaged or cut off",
        "latin.jsonl": "invalid UTF-8 at byte 16",
        "late.jsonl": "line 100000: invalid UTF-8 at byte 16",
        "half.jsonl": "line 1: not JSON",
        "deep.jsonl": "line 1: not JSON",
        "twice.parquet": "two columns 'prompt'",
        "x" * 5_000: "no such file",
        "empty.jsonl": "holds no preferences",
        "none.parquet": "no such file",
        "folder": "holds no preferences.parquet",
    }.items():
        with pytest.raises(FspoError, match=message):
            load_preferences(tmp_path / name)


def test_a_further_column_that_python_cannot_hold_is_no_obstacle(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([GOOD] * 2)
    far = pyarrow.array([10**12, None], pyarrow.timestamp("ms")).cast(pyarrow.timestamp("s"))
    table = table.append_column("when", pyarrow.array([10**7, None], pyarrow.date32()))
    table = table.append_column("known", far)
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    first, second = load_preferences(tmp_path / "x.parquet").by_user["ann"]
    assert (first.chosen, second.row) == (GOOD["chosen"], "x.parquet row 2")
    odd = pyarrow.array([0, 1], pyarrow.timestamp("s", tz="Nowhere/Land"))
    table = table.append_column("zone", odd)
    pyarrow.parquet.write_table(table, tmp_path / "y.parquet")
    with pytest.raises(FspoError, match=r"y\.parquet: the column 'zone' cannot be read"):
        load_preferences(tmp_path / "y.parquet")


def test_a_parquet_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "x.parquet", *[GOOD] * 100).read_bytes()
    for length in {*range(0, len(whole), 97), len(whole) - 1}:
        (tmp_path / "cut.parquet").write_bytes(whole[:length])
        with pytest.raises(FspoError, match=r"cut\.parquet.*damaged or cut off"):
            load_preferences(tmp_path / "cut.parquet")


def test_invalid_text_in_parquet_is_named(tmp_path: Path) -> None:
    broken = pyarrow.array([b"fine", b"\xff\xfe"]).view(pyarrow.utf8())
    columns = {key: pyarrow.array([value] * 2) for key, value in GOOD.items()} | {"chosen": broken}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(FspoError, match=r"x\.parquet: row 2: chosen is not valid UTF-8"):
        load_preferences(tmp_path / "x.parquet")


def test_faults_in_the_table_of_users_are_named(tmp_path: Path) -> None:
    lines(tmp_path / "preferences.jsonl", GOOD)
    for table, message in [
        ([{"user_id": "ann", "attributes": "{"}], "line 1: attributes: not JSON"),
        ([{"user_id": "ann", "attributes": "[]"}], "line 1: attributes: has to be a JSON object"),
        ([{"user_id": "ann", "description": "\ud800"}], "description holds half a character"),
        ([{"user_id": "ann", "attributes": {"town": "\ud800"}}], "attributes: holds half a char"),
        ([{"user_id": "ann"}, {"user_id": "ann"}], "line 2: user 'ann' stands here a second time"),
        ([{"user_id": None}], "line 1: user_id is empty"),
        ([{"user_id": float("nan")}], "line 1: user_id is empty"),
        ([{"user_id": " "}], "line 1: user_id is blank"),
        ([{"uid": "ann"}], "line 1: there is no column 'user_id'; is it 'uid'"),
        ([{"user_id": "ann", "description": float("nan")}], "line 1: description is not text"),
        ([{"user_id": "ann", "split": ["test"]}], "line 1: split is not text"),
    ]:
        lines(tmp_path / "users.jsonl", *table)
        with pytest.raises(FspoError, match=message):
            load_preferences(tmp_path)


def test_attributes_may_be_a_struct(tmp_path: Path) -> None:
    parquet(tmp_path / "preferences.parquet", GOOD, GOOD | {"user_id": "bob"})
    parquet(
        tmp_path / "users.parquet",
        {"user_id": "ann", "attributes": {"age": 3}},
        {"user_id": "bob", "attributes": {"town": "Ulm"}},
    )
    users = load_preferences(tmp_path).users
    assert [users[u].attributes for u in ("ann", "bob")] == [{"age": 3}, {"town": "Ulm"}]


def test_a_name_that_is_neither_file_nor_dataset(tmp_path: Path) -> None:
    with pytest.raises(FspoError, match="no such file or folder"):
        load_preferences("nobody-has-this/dataset-of-preferences")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real people's data is not beside this clone")
def test_real_peoples_preferences() -> None:
    read = load_preferences(SHARED / "polis_bowling_green")
    assert (len(read), len(read.by_user)) == (22_769, 959)
    with pytest.raises(FspoError, match="row 8111: chosen and rejected are the same"):
        load_preferences(SHARED / "ukpconvarg1")  # five of its 65,340 rows are ties
    assert len(load_preferences(SHARED / "ukpconvarg1", drop_ties=True)) == 65_335


def test_ties_can_be_left_out_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("a", "b"), ("c", "c"), ("d", "e")]
    rows = [{"user_id": "u", "prompt": "q", "chosen": c, "rejected": r} for c, r in pairs]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FspoError, match="--drop-ties leaves them out"):
        load_preferences(tmp_path / "x.jsonl")
    read = load_preferences(tmp_path / "x.jsonl", drop_ties=True)
    assert [p.chosen for p in read.by_user["u"]] == ["a", "d"]
    assert "1 rows with two equal responses left out" in capsys.readouterr().err
