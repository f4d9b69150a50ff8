"""PRISM's tables, on rows of their form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fspo import FspoError, load_preferences
from fspo.preferences.importing import import_released
from fspo.preferences.writing import save_preferences

ROW = {
    "utterance_id": "ut0", "interaction_id": "int0", "conversation_id": "c0", "user_id": "user0",
    "turn": 0, "within_turn_id": 0, "conversation_type": "unguided", "user_prompt": "Best soup?",
    "model_response": "Pho.", "model_name": "one", "model_provider": "x", "score": 80,
    "if_chosen": True, "included_in_balanced_subset": True,
}  # fmt: skip
SURVEY = {
    "user_id": "user0", "self_description": " I cook. ", "age": "25-34 years old",
    "gender": "Female", "education": "Vocational", "lm_familiarity": "Very familiar",
    "stated_prefs": {"fluency": 70},
}  # fmt: skip


def folder(path: Path, utterances: list[dict[str, Any]], survey: bool = True) -> Path:
    lines = "".join(json.dumps(ROW | row) + "\n" for row in utterances)
    (path / "utterances.jsonl").write_text(lines)
    if survey:
        (path / "survey.jsonl").write_text(json.dumps(SURVEY) + "\n")
    return path


def test_the_best_answer_is_preferred_to_each_lower_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    utterances: list[dict[str, Any]] = [
        {},
        {"model_response": "Ramen.", "score": 35, "model_name": "two"},
        {"model_response": "Borscht.", "score": 80, "model_name": "three"},  # as high: no choice
        {"model_response": "Soup.", "score": 10, "model_name": "four"},
        {"model_response": "Pho it is.", "turn": 1, "score": 99},  # depends on what came before
        {"conversation_id": "c1", "user_prompt": "Joke?", "model_response": "No.", "score": 5},
        {"conversation_id": "c1", "user_prompt": "Joke?", "model_response": "", "score": 90},
        {"conversation_id": "c1", "user_prompt": "Joke?", "model_response": "Ha.", "score": None},
        {"conversation_id": "c2", "user_id": "user1", "score": 1},
    ]
    found = import_released("prism", folder(tmp_path, utterances))
    assert list(found.by_user) == ["user0"]
    pairs = [(p.prompt, p.chosen, p.rejected) for p in found.by_user["user0"]]
    assert pairs == [("Best soup?", "Pho.", "Ramen."), ("Best soup?", "Pho.", "Soup.")]
    assert found.by_user["user0"][0].extra == {
        "score_chosen": 80, "score_rejected": 35, "model_chosen": "one", "model_rejected": "two",
    }  # fmt: skip
    user = found.users["user0"]
    assert user.description == "I cook."
    assert user.attributes == {
        "age": "25-34 years old", "gender": "Female", "education": "Vocational",
    }  # fmt: skip
    assert "2 answers without a text or a score" in capsys.readouterr().err
    save_preferences(found, tmp_path / "out", "")
    assert load_preferences(tmp_path / "out").by_user == found.by_user


def test_the_survey_may_be_absent(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{}, {"model_response": "Ramen.", "score": 1}]
    found = import_released("prism", folder(tmp_path, rows, survey=False))
    assert found.users["user0"].description == ""


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(FspoError, match=r"no utterances\.jsonl in it"):
        import_released("prism", tmp_path)
    with pytest.raises(FspoError, match="line 1: user_id is not text: None"):
        import_released("prism", folder(tmp_path, [{"user_id": None}]))
    with pytest.raises(FspoError, match="line 1: score is not a number: 'good'"):
        import_released("prism", folder(tmp_path, [{"score": "good"}]))
    with pytest.raises(FspoError, match="no two answers that one person rated differently"):
        import_released("prism", folder(tmp_path, [{}]))
