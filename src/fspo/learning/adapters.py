"""The models that a training run starts from: what learns, and its reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.learning.policy import SETTINGS, add_reference, is_base, read_settings
from fspo.learning.weights import check_resumable
from fspo.places import place_of

if TYPE_CHECKING:
    from fspo.recipe import TrainRecipe


def policy_and_reference(recipe: TrainRecipe) -> tuple[Any, Any, Any]:
    """The model that learns; the frozen reference where it is another model; the tokenizer.

    Raises:
        FspoError: if there is no such model, or the adapter is not one or does not fit it.
    """
    from fspo.models import load_model

    if recipe.lora is None and recipe.adapter:
        raise FspoError(
            f"adapter: {recipe.adapter}: with `lora: null` all weights are trained, and no adapter "
            "is gone on with; leave one of the two out"
        )
    model: Any
    model, tokenizer = load_model(recipe.model)
    frozen = None
    if recipe.lora is None:
        if getattr(model, "is_quantized", False):
            raise FspoError(
                f"lora: null: trains all weights, and those of {recipe.model!r} are quantized. "
                "Leave `lora: null` out, or take a model whose weights are not quantized."
            )
        model = model.float()
        if recipe.objective != "sft":
            frozen, _ = load_model(recipe.model)
    elif recipe.adapter:
        model = _adapter_to_go_on_with(model, recipe)
        if recipe.reference == "start":
            add_reference(model, Path(recipe.adapter))
    else:
        model = new_adapter(model, recipe)
    return model, frozen, tokenizer


def new_adapter(model: Any, recipe: TrainRecipe) -> Any:
    """The model with the recipe's LoRA adapter on it, which learns; the model itself does not.

    Raises:
        FspoError: if the model has no such modules.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    assert recipe.lora is not None
    depth = model.config.get_text_config().num_hidden_layers
    lowest = max(0, depth - (recipe.lora.last_layers or depth))
    targets = recipe.lora.targets
    if lowest and targets == "all-linear":  # which PEFT takes for all layers only
        targets = _linear_modules(model)
    config = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        target_modules=targets,
        layers_to_transform=list(range(lowest, depth)) if lowest else None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise FspoError(f"lora.targets: {error}") from error
    adapted.peft_config["default"].base_model_name_or_path = place_of(recipe.model)
    return adapted


def _linear_modules(model: Any) -> list[str]:
    """The names of the linear modules in the model's layers."""
    import torch

    head = model.get_output_embeddings()
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    )


def _adapter_to_go_on_with(model: Any, recipe: TrainRecipe) -> Any:
    from fspo.pretrained import with_adapter

    adapter = Path(str(recipe.adapter))
    if (adapter / SETTINGS).is_file():
        there = read_settings(adapter)
        same = {
            "model": is_base(there, recipe.model, adapter),
            "template": there["template"] == recipe.template,
        }
        for key in (key for key, is_same in same.items() if not is_same):
            here = getattr(recipe, key)
            changed = " (which has changed since)" if there[key] == here else ""
            raise FspoError(
                f"adapter: {adapter}: was trained with {key}: {there[key]}, and this run has "
                f"{key}: {here}{changed}. Give the same {key}, or another adapter."
            )
    adapted = with_adapter(model, adapter, is_trainable=True)
    check_resumable(adapted, adapter)
    adapted.peft_config["default"].base_model_name_or_path = place_of(recipe.model)
    return adapted
