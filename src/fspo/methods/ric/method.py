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
from typing import TYPE_CHECKING

import numpy as np

from fspo.learning.templates import QUESTION, neutralize
from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Encoder, Tokens
from fspo.methods.method import Floats, Task
from fspo.methods.ric import SCALES
from fspo.methods.ric.scales import Levels, Scales
from fspo.preferences.records import Preference, User

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.learning.policy import Policy
    from fspo.llm.sampling import Sampling

_TREES_AT_ONCE = 8


def context(
    prompt: str, scales: Scales, levels: Levels, tokenizer: PreTrainedTokenizerBase
) -> Tokens:
    """The token ids that lead up to an answer with these levels."""
    measured = zip(scales.by_measure, levels, strict=True)
    scores = ", ".join(f"{name}: {level}" for name, level in measured)
    text = f"## Scores\n{scores}\n\n{QUESTION}{neutralize(prompt)}\n\n## Response\n"
    encoder = Encoder(tokenizer)
    return [*encoder.start, *encoder.texts([text])[0]]


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

    def __init__(self, name: str, policy: Policy, scales: Scales, sampling: Sampling) -> None:
        self.name = name
        self._policy, self._scales, self._sampling = policy, scales, sampling

    def answer(self, tasks: Sequence[Task], seed: int) -> list[list[str]]:
        """Answers each user's prompts behind the levels that the user is taken to want."""
        from fspo.methods.generation import complete

        policy, scales = self._policy, self._scales
        wanted = [scales.desired(task.shots) for task in tasks]
        contexts = [
            [context(prompt, scales, levels, policy.tokenizer) for prompt in task.prompts]
            for task, levels in zip(tasks, wanted, strict=True)
        ]
        return complete(
            policy.model,
            policy.tokenizer,
            contexts,
            replace(self._sampling, seed=seed),
        )

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Returns by how much the user's levels make the chosen response likelier than the mean's.

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


def load(name: str, folder: Path, sampling: Sampling) -> RewardsInContext:
    """Loads a policy with its scales."""
    from fspo.learning.policy import load_policy

    return RewardsInContext(name, load_policy(folder), Scales.load(folder / SCALES), sampling)
