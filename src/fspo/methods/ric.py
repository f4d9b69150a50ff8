"""Rewards-in-Context: a model that was told how much of what is in each answer that it read.

Yang et al., arXiv 2402.10207: supervised fine-tuning on answers behind their own rewards, chosen
and rejected alike; at use, the rewards that are wanted stand there. This is the paper's first
stage; its second one trains on further answers of the model's own, and is left out.

    ## Scores
    words: 7, sentiment: 2

    ## Question
    ...

    ## Response
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fspo.errors import FspoError
from fspo.learning.growing import Reader, Tokens
from fspo.learning.templates import QUESTION, neutralize
from fspo.learning.tree import EpisodeTree
from fspo.methods.method import Floats, Task
from fspo.methods.scales import Levels, Scales
from fspo.preferences.records import Preference, Preferences, User

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.learning.policy import Policy
    from fspo.recipe import EvaluateRecipe, TrainRecipe

SCALES = "scales.json"
MEASURED = ("words", "sentiment")

_TREES_AT_ONCE = 8


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


def context(
    prompt: str, scales: Scales, levels: Levels, tokenizer: PreTrainedTokenizerBase
) -> Tokens:
    """The token ids that lead up to an answer with these levels."""
    measured = zip(scales.by_measure, levels, strict=True)
    scores = ", ".join(f"{name}: {level}" for name, level in measured)
    text = f"## Scores\n{scores}\n\n{QUESTION}{neutralize(prompt)}\n\n## Response\n"
    read = Reader(tokenizer)
    return [*read.start, *read.texts([text])[0]]


def scored_tree(
    prompt: str,
    scales: Scales,
    levels: Levels,
    responses: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    row: str = "",
    max_length: int | None = None,
) -> EpisodeTree:
    """The tree that prices responses to a prompt behind the same levels.

    Raises:
        FspoError: if prompt and response do not fit, naming the row.
    """
    return EpisodeTree.from_context(
        context(prompt, scales, levels, tokenizer),
        [neutralize(response) for response in responses],
        tokenizer,
        f"{row or 'preference'}: prompt and response",
        max_length,
    )


class RewardsInContext:
    """A policy that `train` made, asked for the levels that a user's choices speak for."""

    tasks_at_once = 4

    def __init__(self, name: str, policy: Policy, scales: Scales, settings: EvaluateRecipe) -> None:
        self.name = name
        self._policy, self._scales, self._settings = policy, scales, settings

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind the levels that the user is taken to want."""
        from fspo.methods.generation import complete

        policy, scales, settings = self._policy, self._scales, self._settings
        wanted = [scales.desired(task.shots) for task in tasks]
        contexts = [
            [context(prompt, scales, levels, policy.tokenizer) for prompt in task.prompts]
            for task, levels in zip(tasks, wanted, strict=True)
        ]
        return complete(
            policy.model,
            policy.tokenizer,
            contexts,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=seed,
        )

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """By how much the user's levels make the chosen response likelier than the mean's do.

        `log p(y | levels, x) - log p(y | training mean, x)`, in nats, chosen less rejected; 0
        without shots. Numbers of shots that speak for the same levels are reckoned once.
        """
        wanted = [self._scales.desired(shots[:count]) for count in counts]
        mean = self._scales.desired(())
        asked = sorted({mean, *wanted})
        gaps = dict(zip(asked, self._gaps(asked, targets), strict=True))
        return np.array([gaps[levels] - gaps[mean] for levels in wanted])

    def _gaps(self, asked: Sequence[Levels], targets: Sequence[Preference]) -> Floats:
        """`log p(chosen) - log p(rejected)` behind each of `asked`, float64 (asked, targets)."""
        import torch

        from fspo.learning.scoring import response_logps

        model, tokenizer = self._policy.model, self._policy.tokenizer
        trees = [
            scored_tree(t.prompt, self._scales, levels, (t.chosen, t.rejected), tokenizer, t.row)
            for levels in asked
            for t in targets
        ]
        parts = [trees[k : k + _TREES_AT_ONCE] for k in range(0, len(trees), _TREES_AT_ONCE)]
        with torch.inference_mode():
            logps = [pair.tolist() for part in parts for pair in response_logps(model, part)]
        chosen, rejected = np.asarray(logps, np.float64).T
        gaps: Floats = (chosen - rejected).reshape(len(asked), len(targets))
        return gaps
