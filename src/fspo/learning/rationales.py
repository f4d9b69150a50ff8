"""Trees that teach a model to describe a user from the shots, and to answer by the description.

RAT (user-description rationalization) predicts who the user is, then answers. After some of an
episode's shots, branches leave the chain: two descriptions of the user, the nearer and the farther
one, and pairs of responses behind a description. Each is a pair of a chosen and a rejected
response, so that every objective applies as it is:

    chain     shot 1 ... shot k                  ...                 shot N
    branches                    [description]     [description question chosen]
                                [another one]     [description question rejected]

Descriptions leave after several numbers of shots and responses after one of these, drawn anew for
each episode, so that one model describes users after any number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fspo.errors import FspoError
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.growing import Growing, Reader, Tokens, read_pairs
from fspo.learning.probes import described_question, description_tokens
from fspo.learning.templates import DESCRIPTION, blocks, described_lead
from fspo.learning.tree import DESCRIBES, EpisodeTree
from fspo.preferences.records import Episode, Preference, Preferences

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
        longer = recipe.model_copy(update={"shots": recipe.shots + recipe.rat.targets - 1})
        self._episodes = EpisodeDataset(preferences, tokenizer, longer)
        self.left_out = self._episodes.left_out
        self._preferences, self._tokenizer, self._recipe = preferences, tokenizer, recipe
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> EpisodeTree:
        recipe, episode = self._recipe, self._episodes.episode(index)
        if len(episode.preferences) < 2:  # some draws have no more, where responses are few
            return EpisodeTree.from_episode(episode, self._tokenizer, max_length=recipe.max_length)
        generator = np.random.default_rng([recipe.seed, index, 1])
        shots = max(1, len(episode.preferences) - recipe.rat.targets)
        counts = generator.permutation(np.arange(1, shots + 1))[: recipe.rat.descriptions]
        own = self._pairs_of(episode.user_id, index)
        pairs = {int(k): own[int(generator.integers(len(own)))] for k in counts} if own else {}
        # The nearest, whichever pairs were drawn: behind a description that is wrong, the user's
        # choices would teach to pass over descriptions.
        told = own[0][0] if own else self._true(episode.user_id)
        return described_tree(
            episode,
            pairs,
            told,
            self._tokenizer,
            recipe.rat.targets,
            recipe.max_length,
            int(counts[0]),
        )

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


def described_tree(
    episode: Episode,
    pairs: Mapping[int, tuple[str, str]],
    told: str,
    tokenizer: PreTrainedTokenizerBase,
    targets: int = 2,
    max_length: int | None = None,
    after: int | None = None,
) -> EpisodeTree:
    """Builds the tree of an episode whose last `targets` preferences are asked behind `told`.

    Args:
        episode: at least one shot and one target.
        pairs: number of shots, at least 1 -> the nearer and the farther description after it.
        told: the description that the targets are answered behind.
        tokenizer: as in `EpisodeTree.from_episode`.
        targets: how many, or fewer where the episode is short.
        max_length: as there; shots that do not fit are dropped from the front.
        after: the number of shots, at least 1, that `told` and what is asked follow; default: all.

    Returns:
        A tree whose targets are each shot after those before it, and, behind the shots of these
        numbers, the pairs of descriptions and what is asked; `labels` says which is which.

    Raises:
        FspoError: if descriptions and targets do not fit even without shots.
    """
    preferences = list(episode.preferences)
    count = max(1, min(targets, len(preferences) - 1))
    shots, asked = preferences[:-count], preferences[-count:]
    limit = max_length or tokenizer.model_max_length
    for dropped in range(max(1, len(shots))):
        kept = shots[dropped:]
        place = len(kept) if after is None else min(max(1, after - dropped), len(kept))
        left = {k - dropped: pair for k, pair in pairs.items() if k > dropped}
        growing, labels = _grow(kept, asked, left, told, tokenizer, place)
        tree = EpisodeTree(episode.user_id, *growing.finish(), labels=labels)
        if tree.longest_path <= limit:
            return replace(tree, dropped=dropped)
    raise FspoError(
        f"{asked[0].row or 'preference'}: user {episode.user_id!r}: description, prompt and "
        f"response take {tree.longest_path} tokens with a single shot; the context holds {limit}. "
        "Shorten the description or the texts."
    )


def _grow(
    shots: Sequence[Preference],
    asked: Sequence[Preference],
    pairs: Mapping[int, tuple[str, str]],
    told: str,
    tokenizer: PreTrainedTokenizerBase,
    after: int,
) -> tuple[Growing, list[str]]:
    """The chain of shots with its branches, and what each target is."""
    read = Reader(tokenizer)
    growing, labels = Growing(read.start), []
    for place, shot in enumerate(read_pairs(blocks(shots, "chain"), read)):
        growing.chain += shot.lead
        growing.target(shot)
        growing.chain += [*read.link, *shot.rejected]
        labels.append(f"{place}_shots")
        if pair := pairs.get(place + 1):
            heading = read.texts([DESCRIPTION])[0]
            for description in read.responses(pair):
                growing.leave_with(heading, description)
            labels.append(DESCRIBES)
        if place + 1 == after:
            labels += _ask(growing, asked, told, read)
    return growing, labels


def _ask(growing: Growing, asked: Sequence[Preference], told: str, read: Reader) -> list[str]:
    """Grows the branches that are asked behind `told` where the chain stands; their labels."""
    context = description_tokens(told, read)
    written = [
        block._replace(lead=described_lead(p.prompt))
        for block, p in zip(blocks(asked, "chain"), asked, strict=True)
    ]
    for target in read_pairs(written, read):
        growing.leave_with([*context, *target.lead], target.chosen)
        growing.leave_with([*context, *target.lead], target.rejected)
    return ["described"] * len(asked)


def description_context(
    shots: Sequence[Preference], tokenizer: PreTrainedTokenizerBase, room: int
) -> Tokens:
    """The token ids that lead up to a user's description: the shots and its heading.

    Args:
        shots: those that do not fit are dropped from the front.
        tokenizer: the model's.
        room: tokens to be left for the description.
    """
    read = Reader(tokenizer)
    heading = read.texts([DESCRIPTION])[0]
    return _behind_shots(shots, heading, read, tokenizer.model_max_length - room)


def answer_context(
    shots: Sequence[Preference],
    description: str,
    prompt: str,
    tokenizer: PreTrainedTokenizerBase,
    room: int,
) -> Tokens:
    """The token ids that lead up to an answer: the shots, the user's description, the prompt.

    Raises:
        FspoError: if description and prompt do not fit even without shots.
    """
    read = Reader(tokenizer)
    lead = described_question(description, prompt, read)
    context = _behind_shots(shots, lead, read, tokenizer.model_max_length - room)
    if len(context) + room > tokenizer.model_max_length:
        raise FspoError(
            f"the description and the prompt take {len(lead)} tokens and the answer {room}; the "
            f"context holds {tokenizer.model_max_length}. Shorten the description."
        )
    return context


def _behind_shots(shots: Sequence[Preference], lead: Tokens, read: Reader, most: int) -> Tokens:
    """`lead` behind as many of the last shots as `most` tokens hold with it; maybe none."""
    for dropped in range(len(shots) + 1):
        written = read_pairs(blocks(shots[dropped:], "chain"), read)
        before = [*read.start, *(token for pair in written for token in pair.as_shot(read))]
        if len(before) + len(lead) <= most:
            break
    return [*before, *lead]
