"""Counts against rows whose counts are plain to see."""

import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fspo import Preference
from fspo.preferences.checking import check, check_path, render

ROWS = [
    ("ann", "q", "one two three", "one"),
    ("ann", "q", "one two three", "one"),  # a duplicate
    ("ann", "q", "one", "one two three"),  # a contradiction
    ("ann", "r", "Same  text", "same text"),  # a tie to a reader
    ("bob", "q", "same", "same"),  # a tie to the letter
]


def test_counts(tmp_path: Path) -> None:
    fields = ("user_id", "prompt", "chosen", "rejected")
    table = [dict(zip(fields, row, strict=True)) for row in ROWS]
    (tmp_path / "preferences.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table))
    (tmp_path / "users.jsonl").write_text('{"user_id": "ann", "split": "train"}\n')
    found = check_path(tmp_path)
    assert (found["users"], found["preferences"], found["prompts"]) == (2, 5, 2)
    assert found["users_with_one_preference"] == 1
    assert found["preferences_per_user"]["most"] == 4
    assert found["duplicates"] == {"count": 1, "rows": ["preferences.jsonl line 2"]}
    assert found["contradictions"] == {"count": 1, "rows": ["preferences.jsonl line 3"]}
    assert found["ties"]["rows"] == ["preferences.jsonl line 4", "preferences.jsonl line 5"]
    assert found["prompts_repeated_by_a_user"] == 1
    assert found["longer_is_chosen"] == pytest.approx(3 / 4)  # of four pairs that differ in length
    assert found["words"]["chosen"]["median"] == 2.0
    assert found["splits"] == {"train": 1}


few = st.sampled_from(["a", "b", "A ", "a b"])
rows_of_a_user = st.lists(st.builds(Preference, few, few, few), min_size=1, max_size=7)


@given(st.dictionaries(st.sampled_from("uvw"), rows_of_a_user, min_size=1))
def test_counts_equal_a_comparison_of_all_pairs(by_user: dict[str, list[Preference]]) -> None:
    ties = sum(
        p.chosen.strip().lower() == p.rejected.strip().lower()
        for own in by_user.values()
        for p in own
    )
    again = opposite = 0
    for own in by_user.values():
        for number, p in enumerate(own):
            swapped = p.reversed()
            again += p in own[:number]
            opposite += swapped in own[:number] and p not in own[:number]
    prompts = [p.prompt for own in by_user.values() for p in own]
    asked = [[p.prompt for p in own] for own in by_user.values()]
    repeated = sum(len(list(g)) > 1 for q in asked for _, g in itertools.groupby(sorted(q)))
    found = check(by_user)
    assert found["ties"]["count"] == ties
    assert found["duplicates"]["count"] == again
    assert found["contradictions"]["count"] == opposite
    assert found["prompts_repeated_by_a_user"] == repeated
    assert (found["preferences"], found["prompts"]) == (len(prompts), len(set(prompts)))
    assert json.loads(json.dumps(found)) == found


def test_a_name_is_neither_markup_nor_a_command_to_the_terminal(tmp_path: Path) -> None:
    row = {"user_id": "u", "prompt": "q", "chosen": "a", "rejected": "b"}
    (tmp_path / "preferences.jsonl").write_text(json.dumps(row) + "\n")
    user = {"user_id": "u", "split": "[red]\x1b[31mtest"}
    (tmp_path / "users.jsonl").write_text(json.dumps(user) + "\n")
    shown = io.StringIO()
    Console(file=shown, width=100).print(render(check_path(tmp_path)))
    assert "users in split [red]?[31mtest" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()
