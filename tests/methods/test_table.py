"""The table of methods: folders that declare themselves, read by all that tells methods apart."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

import fspo.methods
from fspo import FspoError
from fspo.learning.policy import load_policy, read_settings
from fspo.methods.build import trained
from fspo.methods.declaration import Declaration
from fspo.methods.table import METHODS, method_of
from fspo.recipe import TrainRecipe

FOLDERS = [p.parent.name for p in Path(fspo.methods.__file__).parent.glob("*/__init__.py")]


def test_every_folder_that_declares_a_method_is_in_the_table() -> None:
    modules = {name: import_module(f"fspo.methods.{name}") for name in FOLDERS}
    declaring = {name for name, module in modules.items() if hasattr(module, "METHOD")}
    assert declaring == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_folder_holds_what_the_table_calls(name: str) -> None:
    assert isinstance(METHODS[name], Declaration)
    train = import_module(f"fspo.methods.{name}.train").train
    load = import_module(f"fspo.methods.{name}.method").load
    assert [*signature(train).parameters][:2] == ["recipe", "resume"]
    assert [*signature(load).parameters] == ["name", "folder", "sampling"]


def test_a_recipe_has_a_section_for_each_method_with_settings_and_reads_its_own() -> None:
    assert {name for name, method in METHODS.items() if method.settings} == {"rat", "vpl"}
    recipe = TrainRecipe.model_validate({"method": "rat", "rat": {"samples": 3}})
    assert METHODS["rat"].settings is not None
    assert recipe.section(METHODS["rat"].settings).model_dump()["samples"] == 3
    assert recipe.of_other_methods() == {"vpl"}
    assert TrainRecipe().of_other_methods() == {"rat", "vpl"}
    assert [*recipe.model_dump()][-2:] == ["rat", "vpl"]


def test_the_table_costs_no_torch() -> None:
    code = "import sys, fspo.methods.table, fspo.recipe; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def policy(folder: Path, **settings: object) -> Path:
    folder.mkdir()
    given = {"model": "smollm2-135m-instruct", "template": "chain", "beta": 0.1, **settings}
    (folder / "fspo.json").write_text(json.dumps(given), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, "FSPO"),  # of the first versions, which named no method
        ({"method": "fspo", "shots": 8}, "FSPO"),
        ({"method": "fspo", "shots": 0, "objective": "dpo"}, "DPO without users"),
        ({"objective": "sft"}, "Pref-FT"),
        ({"method": "rat"}, "FSPO + RAT"),
        ({"method": "ric", "objective": "sft"}, "RiC"),
        ({"method": "vpl"}, "VPL"),
    ],
)
def test_policies_of_all_versions_are_called_what_they_were(
    tmp_path: Path, settings: dict[str, object], label: str
) -> None:
    [found] = trained([policy(tmp_path / "p", **settings)])
    assert found.name == label
    assert method_of(found.settings) is METHODS[str(settings.get("method", "fspo"))]


@pytest.mark.parametrize("method", ["newer", None, ["rat"]])
def test_a_policy_of_an_unknown_method_is_refused_by_name(tmp_path: Path, method: object) -> None:
    folder = policy(tmp_path / "p", method=method)
    for read in (read_settings, load_policy, lambda folder: trained([folder])):
        with pytest.raises(FspoError) as caught:
            read(folder)
        assert str(caught.value) == (
            f"{folder / 'fspo.json'}: was trained by method {method!r}; this version has fspo, "
            "rat, ric, vpl"
        )
