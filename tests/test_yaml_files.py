"""YAML as it is meant: what is read, what is refused, and that the file and line are named."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError
from fspo.yaml_files import read_yaml

words = st.text("abcxyz", min_size=1, max_size=3).filter(lambda w: w not in ("y", "n"))
# What YAML 1.1 cuts lines at, what begins other things in YAML, and accents in two forms.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), max_size=8) | words
# PyYAML writes these without quotes, since to YAML 1.1 they are no numbers.
texts = texts.filter(lambda t: not re.fullmatch(r"[-+]?([0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+|0o.*)", t))
texts |= st.sampled_from(
    ["a\u2028b", "a\x85b", "yes", "1.0e-8", "012", "089", "~", "#", "- a", "é", "e\u0301"]
)
values = st.recursive(
    texts | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(words, values, min_size=1), st.booleans(), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], mark: bool, windows: bool
) -> None:
    """With a mark before it and carriage returns in it, too."""
    path = tmp_path_factory.mktemp("y") / "x.yaml"
    text = yaml.safe_dump(value, allow_unicode=False, sort_keys=False)
    text = text.replace("\n", "\r\n") if windows else text
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    assert read_yaml(path) == value


def _written(value: Any, twice: list[int], indent: int = 0) -> list[str]:
    """Block YAML; the `twice[0]`-th key, counted over all levels, stands a second time."""
    blanks = "  " * indent
    lines: list[str] = []
    for key, inner in value.items():
        body = _written(inner, twice, indent + 1) if isinstance(inner, dict) and inner else []
        line = f"{blanks}{key}:" if body else f"{blanks}{key}: 1"
        lines += [line, *body]
        twice[0] -= 1
        if twice[0] == 0:
            lines.append(f'{blanks}"{key}": 2')
            lines.append("# here")
    return lines


nested = st.recursive(
    st.just({}), lambda inner: st.dictionaries(words, inner, min_size=1, max_size=3), max_leaves=9
)


@given(nested.filter(bool), st.integers(1, 4))
def test_a_key_that_comes_twice_is_named_at_any_depth(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], which: int
) -> None:
    path = tmp_path_factory.mktemp("y") / "x.yaml"
    lines = _written(value, [which])
    path.write_text("\n".join(lines), encoding="utf-8")
    if "# here" not in lines:
        read_yaml(path)
        return
    number = lines.index("# here")
    with pytest.raises(FspoError) as caught:
        read_yaml(path)
    key = lines[number - 1].strip().split('"')[1]
    assert f"{path}: line {number}: the key {key!r} stands here a second time" in str(caught.value)


READ = {
    "a: 1e-8": 1e-8, "a: 1E5": 1e5, "a: .5": 0.5, "a: 5.": 5.0, "a: -1.5e+3": -1500.0,
    "a: 0x1F": 31, "a: 0o17": 15, "a: 1_000": 1000, "a: -7": -7, "a: 0": 0, "a: 0.5": 0.5,
    "a: 12:30": "12:30", "a: 2024-05-01": "2024-05-01", "a: 1.2.3": "1.2.3", "a: 1e": "1e",
    "a: ~/x": "~/x", "a: =": "=", "a: How\u2028are you?": "How\u2028are you?",
    "a: How\x85are you?": "How\x85are you?", "a: yes": True, "a: -.inf": -math.inf, "a:": None,
    "b: &b {x: 1}\na: {<<: *b, x: 2}": {"x": 2}, "a: '0123456'": "0123456",
    "a: 0899": "0899", "a: 08.5": 8.5,
}  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8", newline="")
    found = read_yaml(tmp_path / "x.yaml")
    assert isinstance(found, dict)
    assert (type(found["a"]), found["a"]) == (type(READ[text]), READ[text])


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "x.yaml") is None


BILLION = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))
LONG = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]"
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30)
)
REFUSED = {
    "a: 1\nb: 0123456": "line 2: 0123456 has a leading zero",
    "a:\n  yes: 1": "line 2: the key 'yes' is read as true, and a key has to be text: put it in qu",
    "a:\n  - off: 1": "line 2: the key 'off' is read as false",
    "{no: 1}": "line 1: the key 'no' is read as false",
    "a: 1\n2: b": "line 2: the key '2' is read as a number",
    "~: b": "line 1: the key '~' is read as nothing",
    "? [a]\n: b": "line 1: a list or further keys stand where a key should",
    "x: 1\na: " + "9" * 5000: "line 2: a number of 5,000 digits",
    "a: " + "[" * 3000: "line 1: lists and keys stand more than 50 deep",
    "- " * 3000 + "x": "line 1: lists and keys stand more than 50 deep",
    "\n".join("  " * n + "a:" for n in range(3000)): "line 50: lists and keys stand more than 50",
    BILLION: "with its aliases (*) this is too large",
    CHAIN: "lists and keys stand more than 50 deep",
    LONG: "line 2: with its aliases (*) this is too large",
    MERGED: "with its aliases (*) this is too large",
    "a: &a [*a]": "line 1: holds an alias (*) of what it stands in",
    "a: *b": "line 1: this is not YAML: found undefined alias",
    "a: 1\nb: [": "line 2: this is not YAML",
    "a: 1\n---\nb: 2": "line 2: this is not YAML: expected a single document",
    "a: !!int x": "line 1: 'x' cannot be read as int",
    "a: !!python/object/apply:os.getcwd []": "line 1: this is not YAML: could not determine",
    "a: !!binary aGk=": "line 1: this is not YAML: could not determine",
    "a: b\x07": "line 1: this is not YAML: it may not hold the character U+0007",
    "a: 1\nb: \0": "line 2: holds a NUL character",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_is_named_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    with pytest.raises(FspoError) as caught:
        read_yaml(path)
    assert time.perf_counter() - began < 5
    assert re.match(re.escape(f"{path}: line ") + r"\d+: ", str(caught.value))
    assert REFUSED[text] in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("data", [b"a: 1\nb: caf\xe9", "a: 1".encode("utf-16"), b"a: \xed\xa0\x80"])
def test_what_is_not_utf_8_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(FspoError, match=rf"x\.yaml: is not UTF-8.*line {1 + data.count(10)}: "):
        read_yaml(path)
