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

from fspo.errors import FspoError
from fspo.learning.probes import Between, probe_trees
from fspo.learning.templates import CHAIN, DESCRIPTION, blocks, neutralize, question_lead
from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Encoder, Tokens, TreeBuilder, encode_pairs
from fspo.preferences.records import Episode, Preference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DESCRIBES = "description"  # the label of a target that is a pair of descriptions of the user


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
        builder, labels = _grow(kept, asked, left, told, tokenizer, place)
        tree = EpisodeTree(episode.user_id, *builder.build(), labels=labels)
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
) -> tuple[TreeBuilder, list[str]]:
    """The chain of shots with its branches, and what each target is."""
    encoder = Encoder(tokenizer)
    builder, labels = TreeBuilder(encoder.start), []
    for place, shot in enumerate(encode_pairs(blocks(shots, CHAIN), encoder)):
        builder.chain += shot.lead
        builder.add_target(shot)
        builder.chain += [*encoder.link, *shot.rejected]
        labels.append(f"{place}_shots")
        if pair := pairs.get(place + 1):
            heading = encoder.texts([DESCRIPTION])[0]
            for description in encoder.responses(pair):
                builder.add_branch(heading, description)
            labels.append(DESCRIBES)
        if place + 1 == after:
            labels += _ask(builder, asked, told, encoder)
    return builder, labels


def _ask(
    builder: TreeBuilder, asked: Sequence[Preference], told: str, encoder: Encoder
) -> list[str]:
    """Adds the branches that are asked behind `told`, where the chain stands; their labels."""
    context = description_tokens(told, encoder)
    written = [
        block._replace(lead=question_lead(p.prompt))
        for block, p in zip(blocks(asked, CHAIN), asked, strict=True)
    ]
    for target in encode_pairs(written, encoder):
        builder.add_branch([*context, *target.lead], target.chosen)
        builder.add_branch([*context, *target.lead], target.rejected)
    return ["described"] * len(asked)


def description_tokens(description: str, encoder: Encoder) -> Tokens:
    """A description as it stands in a context: under its heading, with an end token."""
    heading, told = encoder.texts([DESCRIPTION, neutralize(description)])
    return [*heading, *told, encoder.end]


def described_probes(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    descriptions: Sequence[str],
) -> list[EpisodeTree]:
    """The trees of `probe_trees`, with a description of the user between shots and question.

    Args:
        user_id: as there; so are the others.
        shots: in order.
        targets: pairs that are asked about.
        counts: numbers of shots.
        tokenizer: the model's.
        descriptions: one for each count; an empty one does not stand.

    Raises:
        FspoError: as there.
    """
    encoder = Encoder(tokenizer)
    between = [
        Between("description", description_tokens(text, encoder) if text else [])
        for text in descriptions
    ]
    return probe_trees(user_id, shots, targets, counts, tokenizer, CHAIN, between)


def description_context(
    shots: Sequence[Preference], tokenizer: PreTrainedTokenizerBase, room: int
) -> Tokens:
    """The token ids that lead up to a user's description: the shots and its heading.

    Args:
        shots: those that do not fit are dropped from the front.
        tokenizer: the model's.
        room: tokens to be left for the description.
    """
    encoder = Encoder(tokenizer)
    heading = encoder.texts([DESCRIPTION])[0]
    return _behind_shots(shots, heading, encoder, tokenizer.model_max_length - room)


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
    encoder = Encoder(tokenizer)
    lead = [*description_tokens(description, encoder), *encoder.texts([question_lead(prompt)])[0]]
    context = _behind_shots(shots, lead, encoder, tokenizer.model_max_length - room)
    if len(context) + room > tokenizer.model_max_length:
        raise FspoError(
            f"the description and the prompt take {len(lead)} tokens and the answer {room}; the "
            f"context holds {tokenizer.model_max_length}. Shorten the description."
        )
    return context


def _behind_shots(shots: Sequence[Preference], lead: Tokens, encoder: Encoder, most: int) -> Tokens:
    """`lead` behind as many of the last shots as `most` tokens hold with it; maybe none."""
    for dropped in range(len(shots) + 1):
        written = encode_pairs(blocks(shots[dropped:], CHAIN), encoder)
        before = [*encoder.start, *(token for pair in written for token in pair.as_shot(encoder))]
        if len(before) + len(lead) <= most:
            break
    return [*before, *lead]
