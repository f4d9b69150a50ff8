"""Counts against rows whose counts are plain to see."""

import json
from pathlib import Path

import pytest

from fspo.preferences.checking import check_path

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
