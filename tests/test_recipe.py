"""Recipes: defaults, files, flags over files, and faults that name the nearest known key."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError
from fspo.demo import DemoRecipe
from fspo.domains.described import load_described
from fspo.recipe import (
    DEMO_RECIPE,
    EngineRecipe,
    Lora,
    TrainRecipe,
    assign,
    read_recipe,
    recipe_file,
)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("beta: 0.5\nshots: 3\n")
    read = read_recipe(TrainRecipe, path, {"shots": 5, "seed": None})
    assert (read.beta, read.shots, read.seed) == (0.5, 5, 0)


def test_the_committed_demo_recipe_is_valid() -> None:
    assert read_recipe(DemoRecipe, DEMO_RECIPE, {}).train.objective == "dpo"


RECIPES = sorted(path for path in DEMO_RECIPE.parent.glob("*.yaml") if path != DEMO_RECIPE)
TRAIN = [path for path in RECIPES if "\nmethod: " in path.read_text(encoding="utf-8")]
ENGINE = [path for path in RECIPES if path not in TRAIN]


@pytest.mark.parametrize("path", TRAIN, ids=lambda path: path.stem)
def test_the_committed_recipes_to_train_are_valid(path: Path) -> None:
    assert path.stem.startswith(read_recipe(TrainRecipe, path, {}).method)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.stem)
def test_the_committed_recipes_fit_their_domains(path: Path) -> None:
    recipe = read_recipe(EngineRecipe, path, {})
    domain = load_described(recipe.domain)
    assert recipe.labeller != "measured" or domain.measures
    known = {trait.name: {value.value for value in trait.values} for trait in domain.traits}
    for trait, values in recipe.only.items():
        assert set(values) <= known[trait]


@pytest.mark.parametrize(
    ("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("zero2", "DEEPSPEED")]
)
def test_the_committed_launch_settings_are_read_by_accelerate(name: str, kind: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    found = load_config_from_file(str(DEMO_RECIPE.parent / "launch" / f"{name}.yaml"))
    assert found.distributed_type == kind
    if kind == "FSDP":
        given = {key.removeprefix("fsdp_"): value for key, value in found.fsdp_config.items()}
        version = given.pop("version")
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=version,
            transformer_cls_names_to_wrap=[given.pop("transformer_layer_cls_to_wrap")],
            cpu_offload=given.pop("offload_params"),
            **given,
        )
        assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)


FAULTS = {
    "lerning_rate: 1": "unknown key 'lerning_rate'; did you mean 'learning_rate'?",
    "lora: {ranks: 4}": "unknown key 'lora.ranks'; did you mean 'rank'?",
    "zzz: 1": "unknown key 'zzz'; it knows data, out",
    "beta: -1": "beta: input should be greater than 0 (it is -1)",
    "objective: ppo": "objective: input should be 'ipo', 'dpo' or 'sft' (it is 'ppo')",
    "- 1": "a recipe is a list of `key: value` lines",
    "a: [": "line 1: this is not YAML",
    "beta: 1\nbeta: 2": "line 2: the key 'beta' stands here a second time",
    "seed: 100000000000000000000": "seed: input should be less than or equal to 4294967295",
    "out: 12": "(it is 12; put it in quotes if it is text)",
    "out: no": "(it is False, as YAML reads yes, no, on and off; put it in quotes if it is text)",
}


ENGINE_FAULTS = {
    "writers: [{modl: x}]": "unknown key 'writers.0.modl'; did you mean 'model'?",
    "writers: []": "writers: list should have at least 1 item",
    "users: 3": "users: input should be greater than or equal to 6 (it is 3)",
}


@pytest.mark.parametrize("text", ENGINE_FAULTS)
def test_faults_inside_lists_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(FspoError) as caught:
        read_recipe(EngineRecipe, path, {})
    assert ENGINE_FAULTS[text] in str(caught.value)


@pytest.mark.parametrize("text", FAULTS)
def test_faults_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(FspoError) as caught:
        read_recipe(TrainRecipe, path, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert FAULTS[text] in str(caught.value)


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    for name in ("none.yaml", "b.yaml"):
        with pytest.raises(FspoError, match="cannot be read"):
            read_recipe(TrainRecipe, tmp_path / name, {})


OURS = sorted(path.relative_to(DEMO_RECIPE.parent) for path in DEMO_RECIPE.parent.rglob("*.yaml"))


@pytest.mark.parametrize("path", OURS, ids=str)
def test_our_recipes_are_found_from_any_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path.stem).mkdir(exist_ok=True)  # such as the dataset that it makes
    for name in (path, path.with_suffix(""), "recipes" / path, Path("./recipes") / path):
        assert recipe_file(Path(name)) == DEMO_RECIPE.parent / path
    own = tmp_path / "recipes" / path
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("seed: 7")
    assert recipe_file(Path("recipes") / path) == Path("recipes") / path


@pytest.mark.parametrize("name", ["nowhere.yaml", "/demo.yaml", "mine/demo.yaml", "x/../demo.yaml"])
def test_what_is_no_recipe_of_ours_is_looked_for_where_it_was_said_to_be(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FspoError, match=f"{name}: the recipe cannot be read"):
        read_recipe(TrainRecipe, Path(name), {})


def test_numbers_and_paths_are_read_as_they_are_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    (tmp_path / "r.yaml").write_text(
        "out: ~/x\ndata: '~'\nadapter: a/~/b\nlearning_rate: 1e-5\ntrainer: {adam_epsilon: 1e-8}"
    )
    read = read_recipe(TrainRecipe, tmp_path / "r.yaml", {"model": "~/m"})
    assert (read.out, read.data, read.adapter) == ("/somebody/x", "/somebody", "a/~/b")
    assert (read.model, read.learning_rate) == ("/somebody/m", 1e-5)
    assert read.trainer == {"adam_epsilon": 1e-8}


def test_a_message_about_a_recipe_stays_short(tmp_path: Path) -> None:
    for number, text in enumerate(
        [f"out: [{'x' * 10**5}]", f"{'x' * 10**5}: 1", f"measures: [{'[], ' * 9999}]"]
    ):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        with pytest.raises(FspoError) as caught:
            read_recipe(TrainRecipe, path, {})
        assert len(str(caught.value)) < 2500


@pytest.mark.parametrize("as_argument", [False, True])
def test_a_setting_reads_alike_as_an_argument_and_in_a_file(
    tmp_path: Path, as_argument: bool
) -> None:
    written = {
        "beta": "0.2",
        "lora.rank": "4",
        "lora.targets": "[q_proj, v_proj]",
        "trainer.adam_beta1": "0.8",
        "method": "rat",
        "rat.max_tokens": "17",
        "max_length": "null",
    }
    file = tmp_path / "recipe.yaml"
    if as_argument:
        file.write_text("max_length: 512\nlora: {alpha: 8}\n")
        recipe = read_recipe(TrainRecipe, file, {}, [f"{k}={v}" for k, v in written.items()])
    else:
        file.write_text(
            "beta: 0.2\nlora: {rank: 4, targets: [q_proj, v_proj], alpha: 8}\n"
            "trainer: {adam_beta1: 0.8}\nmethod: rat\nrat: {max_tokens: 17}\nmax_length: null\n"
        )
        recipe = read_recipe(TrainRecipe, file, {})
    expected = TrainRecipe(
        beta=0.2,
        lora=Lora(rank=4, targets=["q_proj", "v_proj"], alpha=8),
        trainer={"adam_beta1": 0.8},
        method="rat",
        **{"rat": {"max_tokens": 17}},
    )
    assert recipe == expected


@given(st.text(max_size=30))
def test_any_text_as_an_argument_is_a_setting_or_a_fault_that_is_named(text: str) -> None:
    settings: dict[str, object] = {}
    fault = ""
    try:
        assign(settings, f"note={text}")
    except FspoError as error:
        fault = str(error)
    assert fault.startswith("note: ") if fault else [*settings] == ["note"]


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("beat=1", "unknown key 'beat'; did you mean 'beta'"),
        ("lora.rnk=1", "unknown key 'lora.rnk'; did you mean 'rank'"),
        ("beta=x", "beta: input should be a valid number"),
        ("beta=[", "beta: line 1: this is not YAML"),
        ("objective.x=1", "objective.x: objective is no section here"),
        ("beta", "'beta': settings are given as key=value"),
        ("=1", "'=1': settings are given as key=value"),
        ("a b=1", "'a b=1': settings are given as key=value"),
    ],
)
def test_a_fault_in_an_argument_is_named_by_its_key(
    tmp_path: Path, argument: str, fault: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("objective: dpo\n")
    with pytest.raises(FspoError, match=re.escape(fault)):
        read_recipe(TrainRecipe, file, {}, [argument])
