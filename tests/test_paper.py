"""The paper's tables: recipes that can be read, a run from data to table, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import byte_tokenizer, small_model
from pydantic import ValidationError

from fspo import FspoError, Preference, Preferences, User, load_preferences
from fspo.paper import TABLES, recipe_path, run_paper
from fspo.paper_recipe import PaperRecipe
from fspo.paper_table import pooled, render
from fspo.preferences.writing import save_preferences
from fspo.recipe import read_recipe


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_tables_are_read(path: Path) -> None:
    recipe = read_recipe(PaperRecipe, path, {})
    for part in recipe.parts.values():
        for column in part.columns.values():
            assert not column.published or column.published["base"] == 50.0
            assert "FSPO" in {**part.methods, **column.published}


def test_a_table_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        FspoError, match="no table 'review': take ablations, elix, refinement, reviews, roleplay"
    ):
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
    for seed in (0, 1):
        folder = tmp_path / "out" / f"seed-{seed}" / "small" / "data"
        save_preferences(Preferences(by_user, users), folder, "")
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
                    "synthesize": {"domain": "reviews"},
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
    table = run_paper(recipe(place), place / "out", [0, 1])
    assert list(table["columns"]) == ["known users", "new users"]
    known, new = table["columns"].values()
    assert [u["test"] for u in known["users"]] == [u["test"] for u in new["users"]] == [3, 3]
    assert list(known["methods"]) == ["base", "few-shot prompted", "Pref-FT", "FSPO", "oracle"]
    ours = known["methods"]["FSPO"]
    folders = [place / "out" / f"seed-{seed}" / "small" for seed in (0, 1)]
    results = [
        json.loads((folder / "results" / "known-users" / "results.json").read_text())
        for folder in folders
    ]
    rates = [found["methods"]["FSPO"]["winrate"] for found in results]
    assert ours["by_seed"] == rates
    assert ours["winrate"] == pytest.approx(sum(rates) / 2, abs=0.01)
    lines = (place / "out" / "table.md").read_text().splitlines()
    assert lines[4] == "| | known users | new users |"
    low, high = ours["ci95"]
    row = next(line for line in lines if line.startswith("| FSPO |"))
    assert f"| FSPO | {ours['winrate']:.1f} ({low:.1f} to {high:.1f}) [80.4] |" in row
    assert "| FSPO + RAT | – [92.3] | – |" in lines
    assert lines[-1] == "What differs from the paper: everything"
    policy = folders[0] / "policies" / "FSPO"
    assert (policy / "reference" / "adapter_config.json").is_file()
    written = (policy / "fspo.json").stat().st_mtime_ns
    assert run_paper(recipe(place), place / "out", [0, 1]) == table
    assert (policy / "fspo.json").stat().st_mtime_ns == written
    other = recipe(place).model_copy(update={"title": "Another"})
    with pytest.raises(FspoError, match="holds another recipe"):
        run_paper(other, place / "out", [0])


def test_a_column_without_users_to_ask_stops_it_before_training(place: Path) -> None:
    given = json.loads(recipe(place).model_dump_json())
    given["parts"]["small"]["columns"]["new users"]["evaluate"]["shots"] = 6
    with pytest.raises(FspoError, match=r"parts\.small\.columns\.new users: .*the 7 preferences"):
        run_paper(PaperRecipe.model_validate(given), place / "out", [0])
    assert not (place / "out" / "seed-0" / "small" / "policies").exists()


def test_a_method_is_trained_on_the_data_of_an_earlier_part(place: Path) -> None:
    given = json.loads(recipe(place).model_dump_json())
    part = given["parts"]["small"]
    columns = {"new users": part["columns"]["new users"]}
    methods = {
        name: part["methods"]["Pref-FT"] | {"data": data, "warmup_steps": 0}
        for name, data in (("here", ""), ("there", "small"))
    }
    given["parts"] = {
        "small": part | {"methods": {}, "columns": {}},
        "other": part | {"methods": methods, "columns": columns},
    }
    folder = place / "out" / "seed-0"
    there = load_preferences(folder / "small" / "data")
    turned = {user: [p.reversed() for p in own] for user, own in there.by_user.items()}
    # The other part has the same users, who like the opposite.
    save_preferences(Preferences(turned, there.users.values()), folder / "other" / "data", "")
    table = run_paper(PaperRecipe.model_validate(given), place / "out", [0])
    assert list(table["columns"]) == ["new users"]
    assert not (folder / "small" / "policies").exists()
    weights = {}
    for name, trained_on in (("here", "other"), ("there", "small")):
        policy = folder / "other" / "policies" / name
        settings = json.loads((policy / "fspo.json").read_text())
        assert settings["data"] == str(folder / trained_on / "data")
        weights[name] = (policy / "adapter_model.safetensors").read_bytes()
    assert weights["here"] != weights["there"]


def test_what_cannot_be_run_is_named_before_anything_is_trained(place: Path) -> None:
    given = json.loads(recipe(place).model_dump_json())
    columns = given["parts"]["small"]["columns"]
    columns["new users"]["evaluate"]["judge"] = "review"
    with pytest.raises(FspoError, match="review"):
        run_paper(PaperRecipe.model_validate(given), place / "out", [0])
    assert not (place / "out" / "seed-0" / "small" / "policies").exists()

    def refused(message: str, **changes: object) -> None:
        broken = {**given, "parts": {"small": given["parts"]["small"] | changes}}
        with pytest.raises(ValidationError, match=message):
            PaperRecipe.model_validate(broken)

    methods = given["parts"]["small"]["methods"]
    elsewhere = methods | {"FSPO": methods["FSPO"] | {"data": "smal"}}
    refused(r"methods\.FSPO\.data: 'smal' is no part up to this one \(small\)", methods=elsewhere)
    alone = {"FSPO": methods["FSPO"]}
    before = r"methods\.FSPO\.adapter: 'Pref-FT' is no method before this one \(there is none\)"
    refused(before, methods=alone)
    refused("has columns, but no methods", methods={})
    refused("'Pref-FT' and 'Pref FT': call one", methods=methods | {"Pref FT": alone["FSPO"]})

    def column(**changes: object) -> dict[str, object]:
        known = columns["new users"]["evaluate"]
        return {"new users": {"evaluate": {k: v for k, v in (known | changes).items() if v}}}

    refused(r"evaluate\.judge: a column shows win rates", columns=column(judge="none"))
    refused(r"evaluate\.shots: say how many", columns=column(shots=None))
    twice = given["parts"] | {"large": given["parts"]["small"]}
    with pytest.raises(ValidationError, match="'known users' and 'known users'"):
        PaperRecipe.model_validate(given | {"parts": twice})
    columns["new users"]["evaluate"]["judge"] = "reviews"
    taken = {
        "parts": {"small": given["parts"]["small"] | {"methods": {"oracle": methods["Pref-FT"]}}}
    }
    with pytest.raises(FspoError, match=r"parts\.small\.methods: .* cannot be called 'oracle'"):
        run_paper(PaperRecipe.model_validate(given | taken), place / "out", [0])
    refused("nothing to show", columns={})


def run_of(seed: int, **rates: Sequence[float]) -> dict[str, Any]:
    """Results of a seed in which each method had these outcomes with two users of two prompts."""
    methods = {
        name: {
            "winrate": sum(own) / len(own), "length_controlled": 50.0, "mean_length": 10.0,
            "by_user": {"a": own[:2], "b": own[2:]},
        }
        for name, own in rates.items()
    }  # fmt: skip
    return {
        "seed": seed, "methods": methods, "judge": "j", "model": "m",
        "descriptions": {"ours": {"mean": 0.8 + 0.1 * seed, "before": 0.7, "chance": 0.5}},
        "versions": {}, "users": {"train": 4, "test": 2}, "differences": {"base": {}},
        "predictions": {"ours": {"by_shots": {"0": 0.5, "8": 0.7 + 0.1 * seed}}},
    }  # fmt: skip


def test_seeds_are_pooled_by_their_users() -> None:
    base = [50.0] * 4
    runs = [run_of(0, base=base, ours=[100, 0, 0, 0]), run_of(1, base=base, ours=[100] * 4)]
    column = pooled(runs, {})
    assert "repetition" not in column["methods"]["ours"]  # not measured by an earlier version
    assert column["subject"] == "ours"
    assert column["methods"]["ours"]["winrate"] == 62.5
    assert column["methods"]["ours"]["by_seed"] == [25.0, 100.0]
    # Four users with means 50, 0, 100, 100: a standard error of 23.9, as of four trials.
    assert column["methods"]["ours"]["ci95"] == [11.78, 95.41]
    assert column["differences"]["base"] == {"difference": 12.5, "ci95": [-63.67, 88.67]}
    assert column["predictions"]["ours"] == {"0": 0.5, "8": 0.75}
    text = render({"title": "t", "differs": "", "seeds": [0, 1], "columns": {"x": column}})
    assert "| ours | 0.500 | 0.750 |" in text
    assert "ours describes users with a cosine of 0.850 to their true descriptions (0.700" in text
    assert "seeds 0, 1, with 4 users to learn from and of new ones 2 (x) for each." in text
    assert "stood in it before" not in text
    for run, repeated in zip(runs, (2.0, 5.0), strict=True):
        run["descriptions"]["ours"]["before"] = None
        run["methods"]["ours"]["repetition"] = repeated
        run["methods"]["base"]["repetition"] = 1.0
    column = pooled(runs, {})
    unknown = render({"title": "t", "differs": "", "seeds": [0, 1], "columns": {"x": column}})
    assert "cosine of 0.850 to their true descriptions (0.500 to other users')" in unknown
    assert "so many percent stood in it before, x: base 1.0, ours 3.5." in unknown
    alone = {**column, "predictions": {}, "descriptions": {}}
    text = render({"title": "t", "differs": "", "seeds": [0, 1], "columns": {"x": alone}})
    assert "accuracy" not in text
    assert "| base | +12.5 (-63.7 to +88.7) |" in text


def test_names_in_a_recipe_do_not_break_the_table() -> None:
    runs = [run_of(0, **{"base": [50.0] * 4, "a|b\nc": [100.0, 100.0, 0.0, 0.0]})]
    columns = {"x|y": pooled(runs, {})}
    lines = render({"title": "t", "differs": "", "seeds": [0], "columns": columns}).splitlines()
    assert "| | x\\|y |" in lines
    assert any(line.startswith("| a\\|b c | 50.0 (") for line in lines)


@pytest.mark.parametrize("key", ["reviews", "engine"])
def test_a_part_says_how_its_data_is_made_by_its_name_of_now(place: Path, key: str) -> None:
    given = json.loads(recipe(place).model_dump_json())
    given["parts"]["small"][key] = given["parts"]["small"].pop("synthesize")
    (place / "broken.yaml").write_text(json.dumps(given))
    told = rf"unknown key 'parts\.small\.{key}'; it is called 'synthesize' now"
    with pytest.raises(FspoError, match=told):
        read_recipe(PaperRecipe, place / "broken.yaml", {})
