"""The table of methods that are trained: a folder here for each, and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.methods.declaration import Declaration

if TYPE_CHECKING:
    from fspo.llm.sampling import Sampling
    from fspo.methods.method import Method
    from fspo.recipe import TrainRecipe

METHODS: dict[str, Declaration] = {
    name: import_module(f"fspo.methods.{name}").METHOD
    for name in (
        "fspo",
        "rat",
        "ric",
        "vpl",
    )
}


def method_of(settings: Mapping[str, Any]) -> Declaration:
    """Returns what the method declares that a policy was trained by.

    Args:
        settings: the policy's, as `read_settings` gives them; the earliest ones name no method.
    """
    return METHODS[settings.get("method", "fspo")]


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Runs a recipe to its end, and returns the folder that `fspo evaluate` takes: `fspo train`.

    Raises:
        FspoError: as `fspo.learning.train.train`.
    """
    trained: Path = import_module(f"fspo.methods.{recipe.method}.train").train(recipe, resume)
    return trained


def load(name: str, folder: Path, settings: Mapping[str, Any], sampling: Sampling) -> Method:
    """Loads a policy as the method that it was trained by.

    Args:
        name: what reports call it.
        folder: where `fspo train` wrote it.
        settings: its `fspo.json`.
        sampling: of answers.

    Raises:
        FspoError: if it cannot be loaded.
    """
    module = import_module(f"fspo.methods.{settings.get('method', 'fspo')}.method")
    method: Method = module.load(name, folder, sampling)
    return method
