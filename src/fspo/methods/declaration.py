"""The declaration of a method that is trained: all that the rest of fspo goes by.

A method is a folder here. Its name is what recipes and `fspo.json` call it, and it holds

    __init__.py   METHOD, a `Declaration`, and the method's settings; imported at every start
    train.py      train(recipe, resume): runs a recipe to its end, and returns the policy's folder
    method.py     load(name, folder, recipe): a `Method`, called `name`, from the policy's folder
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fspo.sections import Section

if TYPE_CHECKING:
    from fspo.recipe import TrainRecipe


@dataclass(frozen=True)
class Declaration:
    """A method that is trained.

    Attributes:
        title: its full name, on a policy's card.
        label: what reports call a policy, from its settings (`fspo.json`).
        settings: its own section of a training recipe, which the recipe has under its name.
        is_policy: whether `load_policy` takes it and it has an objective; otherwise it is a reward.
        chats: whether the assistant answers by it: behind a person's choices alone.
        describes: whether it writes descriptions of users, and answers behind these, too.
        learned: what a run of this recipe has trained, for its card, where it is neither an
            adapter nor all weights; otherwise "".
    """

    title: str
    label: Callable[[Mapping[str, Any]], str]
    settings: type[Section] | None = None
    is_policy: bool = True
    chats: bool = False
    describes: bool = False
    learned: Callable[[TrainRecipe], str] = lambda recipe: ""
