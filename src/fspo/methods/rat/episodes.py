"""The episodes that RAT is trained on: drawn from a seed, each with descriptions of its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fspo.errors import FspoError
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.tree import EpisodeTree
from fspo.methods.rat import RatSettings
from fspo.methods.rat.trees import DESCRIBES, described_tree
from fspo.preferences.records import Preferences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.recipe import TrainRecipe

Pairs = Mapping[str, Sequence[tuple[str, str]]]  # user -> (nearer, farther) descriptions


class DescribedEpisodes:
    """The episodes of a recipe with a pair of descriptions each; the i-th by seed and i alone."""

    def __init__(
        self,
        preferences: Preferences,
        tokenizer: PreTrainedTokenizerBase,
        recipe: TrainRecipe,
        pairs: Pairs | None = None,
    ) -> None:
        """Without `pairs`, a user's true description stands against another user's.

        That is the user who takes a turn beside this one: where the recipe has couples, the
        opposite, so that whatever makes a description likely for everybody cancels out, as it does
        for responses, and what the shots say is left.

        With them, a user's first pair holds the nearest description, which answers stand behind;
        they may lack users, whose episodes go without a pair, behind the true description.

        Raises:
            FspoError: if a user has no description.
        """
        check_described(preferences)
        self._settings = recipe.section(RatSettings)
        longer = recipe.model_copy(update={"shots": recipe.shots + self._settings.targets - 1})
        self._episodes = EpisodeDataset(preferences, tokenizer, longer)
        self.left_out = self._episodes.left_out
        self._preferences, self._tokenizer, self._recipe = preferences, tokenizer, recipe
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> EpisodeTree:
        recipe, settings = self._recipe, self._settings
        episode = self._episodes.episode(index)
        if len(episode.preferences) < 2:  # some draws have no more, where responses are few
            return EpisodeTree.from_episode(episode, self._tokenizer, max_length=recipe.max_length)
        generator = np.random.default_rng([recipe.seed, index, 1])
        shots = max(1, len(episode.preferences) - settings.targets)
        counts = generator.permutation(np.arange(1, shots + 1))[: settings.descriptions]
        own = self._pairs_of(episode.user_id, index)
        pairs = {int(k): own[int(generator.integers(len(own)))] for k in counts} if own else {}
        # The nearest, whichever pairs were drawn: behind a description that is wrong, the user's
        # choices would teach to pass over descriptions.
        told = own[0][0] if own else self._true(episode.user_id)
        tree = described_tree(
            episode,
            pairs,
            told,
            self._tokenizer,
            settings.targets,
            recipe.max_length,
            int(counts[0]),
        )
        nll = [settings.nll if label == DESCRIBES else recipe.nll for label in tree.labels]
        return replace(tree, nll=nll)

    def _pairs_of(self, user: str, index: int) -> Sequence[tuple[str, str]]:
        if self._pairs is not None:
            return self._pairs.get(user, ())
        beside = self._episodes.episode(index ^ 1).user_id
        return [(self._true(user), self._true(beside))]

    def _true(self, user: str) -> str:
        return self._preferences.users[user].description


def check_described(preferences: Preferences) -> None:
    """Makes sure that every user has a description.

    Raises:
        FspoError: naming one who has not.
    """
    for user in preferences.users.values():
        if not user.description.strip():
            raise FspoError(
                f"{preferences.source or 'preferences'}: user {user.user_id!r} has no description, "
                "and descriptions are what RAT learns to write. Add the column `description` to "
                "the users' table, or train without: method: fspo"
            )
