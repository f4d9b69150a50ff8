"""The paper's tables: recipes that can be read, a run from data to table, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model

from fspo import FspoError, Preference, Preferences, User
from fspo.paper import TABLES, recipe_path, render, run_paper
from fspo.preferences.writing import save_preferences
from fspo.recipe import PaperRecipe, read_recipe


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_tables_are_read(path: Path) -> None:
    recipe = read_recipe(PaperRecipe, path, {})
    for part in recipe.parts.values():
        for column in part.columns.values():
            assert column.published["base"] == 50.0
            assert "FSPO" in column.published


def test_a_table_that_does_not_exist_is_named() -> None:
    with pytest.raises(FspoError, match="no table 'review': take elix, reviews, roleplay"):
        recipe_path("review")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model, and the data of the table's part as if they had been made already."""
    small_model().save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    by_user, users = {}, []
    for number in range(10):
        split = "train" if number < 4 else "test"
        good, bad = ("I love it.", "I hate it.") if number % 2 else ("I hate it.", "I love it.")
        by_user[f"u{number}"] = [Preference(f"{split} {k}?", good, bad) for k in range(6)]
        kind = "new" if number > 6 else "known"
        attributes = {"sentiment": 1.0 if number % 2 else -1.0, "verbosity": 0.0, "kind": kind}
        users.append(User(f"u{number}", "Likes it one way.", attributes, split))
    save_preferences(Preferences(by_user, users), tmp_path / "out" / "small" / "data", "")
    return tmp_path


def recipe(place: Path) -> PaperRecipe:
    training = {
        "model": str(place / "model"), "shots": 2, "episodes": 2, "lora": {"rank": 2},
    }  # fmt: skip
    evaluating = {"judge": "reviews", "shots": 2, "prompts_per_user": 2, "max_new_tokens": 4}
    return PaperRecipe.model_validate(
        {
            "title": "Small",
            "differs": "everything",
            "parts": {
                "small": {
                    "reviews": {},
                    "methods": {
                        "Pref-FT": training | {"objective": "sft"},
                        "FSPO": training | {"adapter": "Pref-FT"},
                    },
                    "columns": {
                        "known users": {
                            "evaluate": evaluating | {"where": {"kind": ["known"]}},
                            "published": {"FSPO": 80.4, "FSPO + RAT": 92.3},
                        },
                        "new users": {"evaluate": evaluating | {"where": {"kind": ["new"]}}},
                    },
                }
            },
        }
    )


def test_a_table_from_training_to_markdown_and_again_at_no_cost(place: Path) -> None:
    table = run_paper(recipe(place), place / "out", 0)
    assert list(table["columns"]) == ["known users", "new users"]
    known, new = table["columns"].values()
    assert (known["users"]["test"], new["users"]["test"]) == (3, 3)
    assert list(known["methods"]) == ["base", "few-shot prompted", "Pref-FT", "FSPO", "oracle"]
    lines = (place / "out" / "table.md").read_text().splitlines()
    assert lines[4] == "| | known users | new users |"
    ours = known["methods"]["FSPO"]
    low, high = ours["ci95"]
    row = next(line for line in lines if line.startswith("| FSPO |"))
    assert f"| FSPO | {ours['winrate']:.1f} ({low:.1f} to {high:.1f}) [80.4] |" in row
    assert "| FSPO + RAT | – [92.3] | – |" in lines
    assert lines[-1] == "What differs from the paper: everything"
    policy = place / "out" / "small" / "policies" / "FSPO"
    assert (policy / "reference" / "adapter_config.json").is_file()
    written = (policy / "fspo.json").stat().st_mtime_ns
    assert run_paper(recipe(place), place / "out", 0) == table
    assert (policy / "fspo.json").stat().st_mtime_ns == written
    with pytest.raises(FspoError, match="holds another recipe or seed"):
        run_paper(recipe(place), place / "out", 1)


def test_names_in_a_recipe_do_not_break_the_table() -> None:
    cell = {"winrate": 61.0, "ci95": None}
    column = {
        "methods": {"a|b\nc": cell}, "published": {}, "model": "m", "judge": "j",
    }  # fmt: skip
    text = render({"title": "t", "differs": "", "seed": 0, "columns": {"x": column}})
    assert "| a\\|b c | 61.0 |" in text.splitlines()


def test_a_part_needs_data(place: Path) -> None:
    given = json.loads(recipe(place).model_dump_json())
    given["parts"]["small"]["reviews"] = None
    (place / "broken.yaml").write_text(json.dumps(given))
    with pytest.raises(FspoError, match=r"parts\.small.*either `reviews` or `engine`"):
        read_recipe(PaperRecipe, place / "broken.yaml", {})
