"""`fspo recipes`: each recipe is listed with a line, and found by the name that stands there."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fspo import FspoError
from fspo.cli import app
from fspo.judging.build import judge_recipe
from fspo.paper import recipe_path
from fspo.recipe import RECIPES, TrainRecipe, read_recipe, recipe_file
from fspo.recipe_list import find_recipe, list_recipes

LISTED = list_recipes()
EVERY = sorted(RECIPES.rglob("*.yaml"))


def run(*line: str) -> str:
    done = CliRunner().invoke(app, ["recipes", *line])
    assert done.exit_code == 0, done.output
    return done.output


def test_each_recipe_is_listed_once_with_its_first_line() -> None:
    told = run()
    assert sum(map(len, LISTED.values())) == len(EVERY)
    for path in EVERY:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
        assert first.endswith("."), f"{path}: the first line is not a whole sentence"
        assert len(first) <= 110, path
        assert told.count(first.removeprefix("# ")) == 1


@pytest.mark.parametrize("name", LISTED["fspo train NAME"])
def test_a_recipe_to_train_is_read_by_its_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_recipe(TrainRecipe, Path(name), {}).episodes > 0


def test_the_other_commands_find_their_recipes_by_these_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in LISTED["fspo synthesize DOMAIN --recipe NAME"]:
        assert recipe_file(Path(name)).is_file()
    for name in LISTED["fspo paper NAME"]:
        assert recipe_path(name).parent.name == "tables"
    for name in LISTED["fspo evaluate --judge NAME"]:
        assert judge_recipe(name).kind == "model"


def test_a_recipe_is_printed_as_it_is() -> None:
    path = RECIPES / "fspo-reviews.yaml"
    assert run("fspo-reviews") == path.read_text(encoding="utf-8")
    assert run("fspo-reviews", "--path") == f"{path}\n"
    for names in LISTED.values():
        for name in names:
            assert find_recipe(name).is_file()


@pytest.mark.parametrize("name", ["nowhere", "/etc/passwd", "../recipe.py"])
def test_what_is_none_of_ours_is_refused(name: str) -> None:
    with pytest.raises(FspoError, match="there is no recipe"):
        find_recipe(name)
