"""Trains RiC: supervised fine-tuning on every answer behind what is measured in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fspo.errors import FspoError
from fspo.learning.tree import EpisodeTree
from fspo.methods.ric import SCALES
from fspo.methods.ric.method import scored_tree
from fspo.methods.ric.scales import Scales
from fspo.preferences.records import Preferences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.recipe import TrainRecipe

MEASURED = ("words", "sentiment")


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Runs a recipe of `method: ric`, as `fspo.learning.train.train` does.

    The folder holds `scales.json`, too. An "episode" of the recipe is an answer.

    Raises:
        FspoError: as there, or if a measure is unknown or the objective another than sft.
    """
    from fspo.learning.train import train as train_policy

    if "objective" in recipe.model_fields_set and recipe.objective != "sft":
        raise FspoError(
            f"objective: method ric is supervised fine-tuning, so leave it out "
            f"(it is {recipe.objective!r})"
        )

    def answers(
        preferences: Preferences, tokenizer: PreTrainedTokenizerBase, recipe: TrainRecipe
    ) -> AnswerDataset:
        dataset = AnswerDataset(preferences, tokenizer, recipe)
        dataset.scales.save(Path(recipe.out) / SCALES)
        return dataset

    return train_policy(recipe.model_copy(update={"objective": "sft"}), resume, answers)


class Answer(NamedTuple):
    """A training answer, and another one to the same prompt that it is told from in the log."""

    user_id: str
    row: str
    prompt: str
    text: str
    other: str


class AnswerDataset:
    """`recipe.episodes` answers behind their own levels, each a tree; the i-th by seed and i alone.

    An answer that stands in several rows counts once. Answers come in random order, again and
    again. The first response of a tree is what is trained; the second is the pair's other answer
    behind the same levels, so that the log's accuracy says how often the levels decide rightly.
    """

    left_out = 0  # no user is: an answer needs no shots

    def __init__(
        self, preferences: Preferences, tokenizer: PreTrainedTokenizerBase, recipe: TrainRecipe
    ) -> None:
        self._tokenizer = tokenizer
        self._recipe = recipe
        self.answers = _distinct_answers(preferences)
        texts = [answer.text for answer in self.answers]
        self.scales = Scales.fit(texts, recipe.measures or MEASURED)

    def __len__(self) -> int:
        return self._recipe.episodes

    def __getitem__(self, index: int) -> EpisodeTree:
        turn, place = divmod(index, len(self.answers))
        order = np.random.default_rng([self._recipe.seed, turn]).permutation(len(self.answers))
        answer = self.answers[order[place]]
        levels = self.scales.levels(answer.text)
        tree = scored_tree(
            answer.prompt,
            self.scales,
            levels,
            (answer.text, answer.other),
            self._tokenizer,
            answer.row,
            self._recipe.max_length,
        )
        return replace(tree, user_id=answer.user_id)


def _distinct_answers(preferences: Preferences) -> list[Answer]:
    found: dict[tuple[str, str], Answer] = {}
    for user_id, p in preferences:
        for text, other in ((p.chosen, p.rejected), (p.rejected, p.chosen)):
            found.setdefault((p.prompt, text), Answer(user_id, p.row, p.prompt, text, other))
    if not found:
        raise FspoError(f"{preferences.source or 'preferences'}: there is nothing to train on")
    return list(found.values())
