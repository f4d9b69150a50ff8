"""What a run will take: against a published size, worked formulas, and the run itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, small_model
from transformers import LlamaConfig

from fspo import FspoError, Preference, Preferences, User, load_preferences
from fspo.learning.adapters import new_adapter
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.planning import plan
from fspo.learning.trainer import TreeModel
from fspo.preferences.writing import save_preferences
from fspo.recipe import RECIPES, Lora, TrainRecipe, read_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planning")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    rows = [Preference(f"question {k}", "yes " * (k + 1), "no " * 4) for k in range(9)]
    by_user = {f"u{n}": rows for n in range(4)}
    save_preferences(Preferences(by_user, [User(u) for u in by_user]), folder / "data", "")
    return folder


def recipe(place: Path, **settings: object) -> TrainRecipe:
    return TrainRecipe.model_validate(
        {"data": str(place / "data"), "model": str(place / "model"), "shots": 4, "episodes": 30,
         "batch_size": 3, "objective": "dpo", "lora": Lora(rank=4)} | settings
    )  # fmt: skip


def kept_in_a_real_pass(settings: TrainRecipe) -> int:
    """Bytes that autograd keeps when the longest of the first trees is read for good."""
    model = small_model()
    model = (new_adapter(model, settings) if settings.lora else model).train()
    if settings.trainer.get("activation_checkpointing"):
        TreeModel(model).activation_checkpointing_enable()
    episodes = EpisodeDataset(load_preferences(settings.data), byte_tokenizer(), settings)
    longest = max((episodes[index] for index in range(30)), key=len)
    kept: dict[int, int] = {}
    weights = {p.data_ptr() for p in model.parameters()}
    held = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor.untyped_storage().nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        [logps] = TreeModel(model)([longest])
        logps.sum().backward()
    return sum(kept.values())


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("lora", [Lora(rank=4), None])
def test_kept_activations_are_those_of_the_run(place: Path, lora: Lora | None, again: bool) -> None:
    settings = recipe(place, lora=lora, objective="sft",
                      trainer={"activation_checkpointing": again})  # fmt: skip
    assert plan(settings).activations == pytest.approx(kept_in_a_real_pass(settings), rel=0.01)


def test_work_follows_from_the_size_of_the_model(place: Path) -> None:
    """With all weights learning, a matrix product forward costs two more backward."""
    found = plan(recipe(place, lora=None, objective="sft", template="paper"))
    shape = small_model().config
    width, inner = shape.hidden_size, shape.intermediate_size
    heads = shape.num_key_value_heads / shape.num_attention_heads
    layer = 2 * width * width * (1 + heads) + 3 * width * inner
    products = 3 * 2 * shape.num_hidden_layers * layer * found.tokens * 30
    # On top come attention and the output layer, for trees as short as these less than as much.
    assert products < found.flop < 2.5 * products
    once, twice = (
        plan(recipe(place, lora=None, objective="sft", template="paper", episodes=episodes))
        for episodes in (60, 120)
    )
    assert twice.flop == pytest.approx(2 * once.flop)
    assert (once.steps, twice.steps) == (20, 40)
    with_reference = plan(recipe(place, lora=None, objective="ipo", template="paper"))
    assert with_reference.flop == pytest.approx(found.flop * 4 / 3, rel=0.05)
    assert with_reference.weights == 2 * found.weights


def test_memory_of_what_learns(place: Path) -> None:
    count = sum(p.numel() for p in small_model().parameters())
    everything = plan(recipe(place, lora=None, optimizer="adamw_torch"))
    assert everything.parameters == everything.trained == count
    assert everything.learning == count * (4 + 8)
    assert plan(recipe(place, lora=None, optimizer="rmsprop")).learning == count * (4 + 4)
    adapter = plan(recipe(place))
    assert adapter.learning == adapter.trained * (4 + 8)
    assert adapter.weights == 4 * adapter.parameters == 4 * (count + adapter.trained)


@pytest.mark.parametrize("stage", ["pref-ft", "ipo"])
def test_the_papers_recipes_for_a_model_of_three_billion(place: Path, stage: str) -> None:
    """Llama-3.2-3B has 3,212,749,824 parameters; of it only the configuration is needed."""
    folder = place / "llama"
    LlamaConfig(
        vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
        num_attention_heads=24, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
        max_position_embeddings=131072,
    ).save_pretrained(folder)  # fmt: skip
    byte_tokenizer().save_pretrained(folder)
    told = {"data": str(place / "data"), "model": str(folder)}
    found = plan(read_recipe(TrainRecipe, RECIPES / "paper" / f"{stage}.yaml", told))
    assert found.parameters == found.trained == 3_212_749_824
    assert found.steps == 25_000
    copies = 2 if stage == "ipo" else 1
    assert found.weights == copies * 4 * 3_212_749_824
    assert "3,212,749,824 parameters" in found.text(400.0)


def test_other_methods_are_refused(place: Path) -> None:
    with pytest.raises(FspoError, match="for method fspo, and this is rat"):
        plan(recipe(place, method="rat"))
    with pytest.raises(FspoError, match="data: not given"):
        plan(recipe(place, data=""))
