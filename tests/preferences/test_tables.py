"""What tables may not hold, and that messages about them stay short."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import FspoError, load_preferences
from fspo.preferences.importing import import_released
from fspo.preferences.parquet_files import read_parquet
from fspo.preferences.tables import parse_json, rows

GOOD = {"user_id": "ann", "prompt": "q", "chosen": "yes", "rejected": "no"}
KTO = {"user_id": "ann", "prompt": "q", "completion": "yes", "label": True}
DEEP = "[" * 900 + "]" * 900

keys = st.text("abc", min_size=1, max_size=2)
nested = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.lists(st.tuples(keys, inner), max_size=3),
    max_leaves=10,
)


def _json(value: Any, twice: list[str]) -> str:
    """JSON of lists of pairs as objects, whose keys may come twice; `twice` gets those."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        names = [key for key, _ in value]
        twice += [name for name in names if names.count(name) > 1]
        inner = ", ".join(f"{json.dumps(key)}: {_json(one, twice)}" for key, one in value)
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(one, twice) for one in value) + "]"
    return json.dumps(value)


@given(nested)
def test_a_json_key_that_comes_twice_is_named_at_any_depth(value: Any) -> None:
    twice: list[str] = []
    text = _json(value, twice)
    if not twice:
        assert parse_json(text, "here") == json.loads(text)
        return
    with pytest.raises(FspoError, match=r"^here: the key '[abc]+' stands in one object twice") as e:
        parse_json(text, "here")
    assert any(repr(key) in str(e.value) for key in twice)


FAULTS = {
    "a.json": (json.dumps({"version": 1, "data": [GOOD]}), "the rows stand under 'data'"),
    "b.json": (json.dumps({"version": 1, "data": [GOOD]}, indent=1), "rows stand under 'data'"),
    "c.json": (json.dumps(GOOD, indent=1), "and not a list of rows; put [ ] around it"),
    "d.jsonl": (json.dumps({"meta": {}, "rows": [GOOD]}), "the rows stand under 'rows'"),
    "e.jsonl": (json.dumps(KTO), "TRL's format for KTO"),
    "f.jsonl": (json.dumps({k: v for k, v in KTO.items() if k != "user_id"}), "format for KTO"),
    "g.jsonl": (json.dumps(GOOD) + "\n" + json.dumps(GOOD)[:-1] + ', "chosen": "x"}',
                "line 2: the key 'chosen' stands in one object twice"),
    "h.csv": ("user_id,prompt,chosen,chosen,rejected\nu,q,a,b,c\n", "has two columns 'chosen'"),
    "i.jsonl": (json.dumps(GOOD)[:-1] + f', "x": {"9" * 5000}}}', "line 1: not JSON: a number has"),
    "j.jsonl": (json.dumps(GOOD)[:-1] + f', "x": {DEEP}}}', "more than 100 deep"),
    "k.jsonl": (json.dumps({"version": 1, "name": "x"}), "'user_id'; there is version, name"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_table_may_not_hold_is_named(tmp_path: Path, name: str) -> None:
    text, told = FAULTS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(FspoError) as caught:
        load_preferences(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert told in str(caught.value)
    assert "Rename" not in str(caught.value)


def test_blank_columns_of_a_spreadsheet_are_no_column_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("user_id,prompt,chosen,rejected,,\nu,q,a,b,,\n")
    assert len(load_preferences(tmp_path / "x.csv")) == 1


HUGE = "x" * 3_000_000


@pytest.mark.parametrize(
    "field", ["user_id", "prompt", "chosen", "rejected", "attributes", "split"]
)
@pytest.mark.parametrize(
    "value",
    [HUGE + "\ud800", [HUGE], [{"role": "user", "content": HUGE}], {HUGE: 1}, [[["x"] * 9] * 9] * 9,
     10**4000],
    ids=range(6),
)  # fmt: skip
def test_a_message_does_not_repeat_a_file(tmp_path: Path, field: str, value: object) -> None:
    """Nor take its size in memory once more for what it quotes."""
    of_user = field in ("attributes", "split")
    own = GOOD if of_user else GOOD | {field: value}
    user = {"user_id": "ann"} | ({field: value} if of_user else {})
    (tmp_path / "preferences.jsonl").write_text(json.dumps(own))
    (tmp_path / "users.jsonl").write_text(json.dumps(user))
    if (field, value) in (("user_id", 10**4000), ("attributes", {HUGE: 1})):
        assert len(load_preferences(tmp_path)) == 1
        return
    with pytest.raises(FspoError) as caught:
        load_preferences(tmp_path)
    assert len(str(caught.value)) < 500 + 2 * len(str(tmp_path))


def test_a_message_does_not_repeat_a_column_or_a_user(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HUGE},{HUGE}\nu,q\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({HUGE: 1}))
    (tmp_path / "c.jsonl").write_text(f'{{"{HUGE}": 1, "{HUGE}": 2}}')
    for name in ("a.csv", "b.jsonl", "c.jsonl"):
        with pytest.raises(FspoError) as caught:
            load_preferences(tmp_path / name)
        assert len(str(caught.value)) < 500 + 2 * len(str(tmp_path))
    (tmp_path / "d.jsonl").write_text(json.dumps(GOOD | {"user_id": HUGE}))
    with pytest.raises(FspoError) as caught:
        load_preferences(tmp_path / "d.jsonl").episode(HUGE, 3)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_ties_are_told_in_words_that_are_true_of_every_command(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(GOOD | {"rejected": "yes"}))
    with pytest.raises(FspoError, match=r"Remove such rows.*In `fspo train` and `fspo evaluate`"):
        load_preferences(tmp_path / "x.jsonl")


SCORED = {"prompt": "q", "response_x": "X", "response_y": "Y", "scorer_level": "child"}


@pytest.mark.parametrize("label", [True, False, "true", "False", 2, -1, "x", "A", [1], 1e400])
def test_a_label_that_is_none_is_no_tie(tmp_path: Path, label: object) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(SCORED | {"label": label}))
    with pytest.raises(FspoError, match=r"line 1: label is .*0 where response_x is preferred"):
        import_released("steered-reviews", tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("label", "chosen"),
    [(0, "X"), ("0", "X"), (0.0, "X"), ("0.0", "X"), (1, "Y"), ("1", "Y"), (" 1.0 ", "Y")],
)
def test_labels_are_read_right_beside_ties(tmp_path: Path, label: object, chosen: str) -> None:
    table = [SCORED | {"label": one} for one in (label, 0.5, None, "", "tie", float("nan"))]
    (tmp_path / "x.json").write_text(json.dumps(table))
    [(_, p)] = import_released("elix-generations", tmp_path / "x.json")
    assert p.chosen == chosen


def test_rows_of_another_layout_are_told_what_they_are(tmp_path: Path) -> None:
    nested = {"version": 1, "data": [SCORED]}
    for row, told in ((KTO, "format for KTO"), (GOOD, "need no import"), (nested, "under 'data'")):
        (tmp_path / "x.jsonl").write_text(json.dumps(row))
        with pytest.raises(FspoError, match=told):
            import_released("steered-reviews", tmp_path / "x.jsonl")


few = st.sampled_from(["", "a", "b" * 50, "é\u2028", None])
columns = {
    "s": few,
    "n": st.integers(0, 5) | st.none(),
    "l": st.lists(few, max_size=2) | st.none(),
    "o": st.fixed_dictionaries({"x": few, "y": st.lists(st.integers(0, 3), max_size=2)}),
    "m": st.lists(st.fixed_dictionaries({"role": few, "content": few}), max_size=2),
}


@settings(deadline=None)  # the first one loads pyarrow
@given(
    st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=9),
    st.sampled_from(["string", "large_string", "dictionary"]),
    st.sampled_from([True, False, "DELTA_BYTE_ARRAY"]),
    st.integers(1, 4),
)
def test_parquet_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[Any], kind: str, how: Any, group: int
) -> None:
    path = tmp_path_factory.mktemp("p") / "x.parquet"
    content = pyarrow.table(
        {name: pyarrow.array([row[name] for row in table]) for name in columns if name != "s"}
    )
    texts = pyarrow.array([row["s"] for row in table], pyarrow.string())
    kinds = {"string": pyarrow.string(), "large_string": pyarrow.large_string()}
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(kinds[kind])
    encoding = {} if how is True else {"use_dictionary": False}
    if how == "DELTA_BYTE_ARRAY" and kind != "dictionary":
        encoding["column_encoding"] = {"s": how}  # type: ignore[dict-item]
    pyarrow.parquet.write_table(
        content.append_column("s", texts), path, row_group_size=group, **encoding
    )
    assert [row for _, row in read_parquet(path)] == table


def _repeated(text: str, count: int) -> Any:
    place = pyarrow.array([0] * count, pyarrow.int32())
    return pyarrow.DictionaryArray.from_arrays(place, pyarrow.array([text]))


BOMBS = {
    "one text many times": lambda: {"prompt": _repeated("x" * 9000, 90_000)},
    "one long text": lambda: {"prompt": _repeated("x" * 20_000_000, 1000)},
    "many rows": lambda: {"n": pyarrow.array([1] * 3_000_000)},
    "in lists": lambda: {"l": pyarrow.array([["x" * 100_000] * 3] * 1000)},
    "in lists of records": lambda: {"m": pyarrow.array([[{"c": "x" * 100_000}] * 3] * 1000)},
}


@pytest.mark.parametrize("name", BOMBS)
def test_parquet_that_would_fill_the_memory_is_refused_before_it_does(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table(BOMBS[name]()), path, compression="zstd")
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(
        FspoError, match=r"x\.parquet: [\d,]+ bytes that unpack to [\d,]+ .* or mor"
    ):
        list(rows(path))
    assert time.perf_counter() - began < 30
    assert tracemalloc.get_traced_memory()[1] < (400e6 if name.startswith("in") else 50e6)
    tracemalloc.stop()


def test_real_data_that_repeat_themselves_are_read(tmp_path: Path) -> None:
    """A few long prompts for many users: small in the file, and far from what fills memory."""
    table = pyarrow.table(
        {"user_id": [f"u{n % 500}" for n in range(50_000)], "prompt": _repeated("q" * 4000, 50_000),
         "chosen": ["a", "b"] * 25_000, "rejected": ["b", "a"] * 25_000}
    )  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    found = load_preferences(tmp_path / "x.parquet")
    assert len(found) == 50_000
    assert len({id(p.prompt) for _, p in found}) < 5  # each text is kept once
