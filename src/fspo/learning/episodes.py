"""The episodes that a model is trained on: drawn from a seed, made into trees when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.templates import CHAIN
from fspo.learning.tree import EpisodeTree
from fspo.preferences.imputing import Imputed
from fspo.preferences.opposites import LEAST, Couple, opposites
from fspo.preferences.records import Episode, Preference, Preferences, without_repetition
from fspo.preferences.splitting import hold_out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.recipe import TrainRecipe


_HEADINGS = 512  # bytes that a template adds to a single preference, at most


class EpisodeDataset:
    """`recipe.episodes` trees; the i-th depends on the recipe and i alone, so a run can resume.

    Users take turns in random order. A user with fewer preferences than an episode wants gives a
    shorter one; a user without any for a shot is left out, where there are to be shots.
    """

    def __init__(
        self, preferences: Preferences, tokenizer: PreTrainedTokenizerBase, recipe: TrainRecipe
    ) -> None:
        preferences = that_fit(preferences, tokenizer, recipe.template, recipe.max_length)
        self._preferences = preferences
        self._tokenizer = tokenizer
        self._recipe = recipe
        needed = min(2, recipe.shots + 1)
        enough = {
            user
            for user in preferences.by_user
            if len(preferences.draw(user, needed, recipe.seed).preferences) == needed
        }
        self.users = _side_by_side(preferences, enough) if recipe.paired else sorted(enough)
        self.left_out = len(preferences.by_user) - len(self.users)
        if not self.users:
            raise FspoError(
                f"{preferences.source or 'preferences'}: no user has preferences on two different "
                "prompts; there is nothing to learn a user's taste from"
            )
        self._couples = self._opposites() if recipe.opposed else []
        self._imputed = (
            Imputed(preferences, np.random.default_rng([recipe.seed, 9]))
            if recipe.imputed
            else None
        )
        if self._couples and self._imputed and not self._imputed.knows_tastes:
            say(
                f"{preferences.source or 'preferences'}: imputed: its users show no taste beyond "
                "what most of them like; couples keep to the pairs over which they disagreed"
            )

    def __len__(self) -> int:
        return self._recipe.episodes

    def __getitem__(self, index: int) -> EpisodeTree:
        return EpisodeTree.from_episode(
            self.episode(index), self._tokenizer, self._recipe.template, self._recipe.max_length
        )

    def episode(self, index: int) -> Episode:
        """The `index`-th episode.

        Where the recipe says `paired`, users who stand side by side in the data take their turn
        together, with the same draw: two opposites who were asked about the same prompts. In a
        batch of the two, whatever everybody would be taught to like cancels out, and what the
        shots say about the user is left.

        Where it says `opposed`, that share of all turns, most of them early, is for couples of
        users who chose opposite ways (`opposites.py`): one after the other, with the same pairs in
        the same order. If it says `imputed`, too, they go on with pairs that they were not asked
        about: these shots say plainly whose side a user is on, and what either side thinks of
        everything else can be learned.

        Where it says `imputed`, that share of all others has pairs that the user was not asked
        about, as the user would choose (`imputing.py`); but for users of whom that is not known.
        If it says `paired`, too, the second of two is as somebody of the opposite taste would.
        """
        turn, member = divmod(index, 2)
        before = self._opposed_turns(turn)
        if self._opposed_turns(turn + 1) > before:
            return self._opposed_episode(before, member)
        together = 2 if self._recipe.paired else 1
        drawn, member = divmod(index, together)
        turn, place = divmod(drawn, -(-len(self.users) // together))
        order = np.random.default_rng([self._recipe.seed, turn]).permutation(len(self.users))
        first = int(order[order % together == 0][place])
        return self._own_episode(first, member, drawn)

    def _own_episode(self, first: int, member: int, number: int) -> Episode:
        seed, most, share = self._recipe.seed, self._recipe.shots + 1, self._recipe.imputed
        if self._imputed and int((number + 1) * share) > int(number * share):
            user = self.users[first]
            episode = self._imputed.draw(user, most, [seed, 9, number], opposite=member == 1)
            if len(episode.preferences) >= min(2, most):
                return episode
        user = self.users[min(first + member, len(self.users) - 1)]
        return self._preferences.draw(user, most, [seed, number])

    def _opposites(self) -> list[Couple]:
        found = opposites(self._preferences, np.random.default_rng([self._recipe.seed, 6]))
        if not found:
            raise FspoError(
                f"opposed: {self._preferences.source or 'preferences'}: no two users disagree over "
                f"{LEAST} pairs of responses; leave `opposed` out"
            )
        return found

    def _opposed_turns(self, turn: int) -> int:
        """Returns how many of the first turns are couples'.

        Their share falls in a line, from twice the recipe's or from 1, so that a model learns
        first to tell people apart, and then what people like.
        """
        share = self._recipe.opposed
        first = min(1.0, 2 * share)
        last = 2 * share - first
        done = turn / max(1, self._recipe.episodes / 2)
        return int(turn * (first - (first - last) * done / 2) + 0.5)

    def _opposed_episode(self, number: int, member: int) -> Episode:
        turn, place = divmod(number, len(self._couples))
        order = np.random.default_rng([self._recipe.seed, 7, turn]).permutation(len(self._couples))
        couple = self._couples[order[place]]
        said = couple.drawn(np.random.default_rng([self._recipe.seed, 8, number]))[member]
        user, opposite = (couple.one, couple.other) if member == 0 else (couple.other, couple.one)
        most = self._recipe.shots + 1
        if self._imputed is None or not self._imputed.knows_tastes:
            return Episode(user, without_repetition(said, most))
        shots = without_repetition(said, min(LEAST, most))
        return self._imputed.behind(user, opposite, shots, most, [self._recipe.seed, 10, number])


def _side_by_side(preferences: Preferences, enough: AbstractSet[str]) -> list[str]:
    """Users in the data's order, two by two, without couples of which one cannot take a turn."""
    names = list(preferences.by_user)
    couples = (names[first : first + 2] for first in range(0, len(names), 2))
    return [user for couple in couples if enough >= set(couple) for user in couple]


def that_fit(
    preferences: Preferences,
    tokenizer: PreTrainedTokenizerBase,
    template: str = CHAIN,
    max_length: int | None = None,
) -> Preferences:
    """The preferences that the context can hold alone; of the others it is said how many they are.

    Args:
        preferences: of any users; those without one that fits are left out.
        tokenizer: as in `EpisodeTree.from_episode`.
        template: one of `TEMPLATES`.
        max_length: tokens that the context holds; by default the tokenizer's limit.

    Raises:
        FspoError: if none fits.
    """
    limit = max_length or tokenizer.model_max_length
    too_long: list[FspoError] = []

    def fits(user: str, preference: Preference) -> bool:
        text = preference.prompt + preference.chosen + preference.rejected
        # No tokenizer makes more tokens of a text than it has bytes. Headings come on top, and
        # marks before lines that look like one.
        if 2 * len(text.encode()) + _HEADINGS <= limit:
            return True
        try:
            EpisodeTree.from_episode(Episode(user, [preference]), tokenizer, template, max_length)
        except FspoError as error:
            too_long.append(error)
            return False
        return True

    kept = {u: [p for p in rows if fits(u, p)] for u, rows in preferences.by_user.items()}
    if not too_long:
        return preferences
    kept = {user: rows for user, rows in kept.items() if rows}
    if not kept:
        raise too_long[0]
    say(f"preferences that do not fit are left out: {len(too_long)}; the first is {too_long[0]}")
    return Preferences(kept, preferences.users.values(), preferences.source)


def learned_from(
    preferences: Preferences, split: str, holdout_users: float, holdout_prompts: float
) -> Preferences:
    """Returns what a policy is trained on: all that these settings of a recipe do not set apart.

    With users held out, users are split anew, however the dataset splits them.

    Raises:
        FspoError: if nothing is left.
    """
    if not (holdout_users or holdout_prompts):
        return training_preferences(preferences, split)
    kept = hold_out(preferences, holdout_users, holdout_prompts).train
    return kept if holdout_users else training_preferences(kept, split)


def training_preferences(preferences: Preferences, split: str) -> Preferences:
    """The users of `split`; all of them where the dataset does not split its users.

    Raises:
        FspoError: if users are split, but none is in `split`.
    """
    splits = sorted({user.split for user in preferences.users.values()} - {""})
    if not splits:
        return preferences
    chosen = preferences.of(split)
    if not chosen.by_user:
        raise FspoError(
            f"{preferences.source or 'preferences'}: no user is in split {split!r}; "
            f"there are {', '.join(splits)}"
        )
    return chosen


def collate(trees: Sequence[EpisodeTree]) -> dict[str, Sequence[EpisodeTree]]:
    """A batch is a list of trees: padding is left to the scoring, which knows the mask."""
    return {"trees": trees}
