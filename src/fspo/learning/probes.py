"""Trees that ask about the same pairs after several numbers of shots, in as few passes as can be.

The shots are the chain. After each number of them, branches leave it: for each pair the question
with the chosen response, and the question with the rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fspo.learning.templates import CHAIN, blocks, neutralize, question_lead, template_named
from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Encoder, Tokens, TreeBuilder, encode_pairs
from fspo.preferences.records import Episode, Preference

_BRANCHES = 1024  # tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class Between(NamedTuple):
    """Text that a method writes between the shots and a question.

    Attributes:
        what: its name, for messages.
        tokens: its token ids; none where nothing stands there.
    """

    what: str
    tokens: Tokens


def probe_trees(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str = CHAIN,
    between: Sequence[Between] = (),
) -> list[EpisodeTree]:
    """Trees whose responses are, one after the other, those of every target after every count.

    Args:
        user_id: whose preferences.
        shots: in order; a target after k shots sees the first k of them.
        targets: pairs that are asked about, each apart from the others.
        counts: numbers of shots, rising, none above `len(shots)`.
        tokenizer: as in `EpisodeTree.from_episode`.
        template: one of `TEMPLATES`; of one that is not chained, such as "paper", the text cannot
            be shared: a tree for each pair and count.
        between: for each count, what stands between shots and question (chain only).

    Returns:
        Trees; their responses, in order, are chosen and rejected of the first target after the
        first count, those of the second target, ..., then those after the second count, and so on.

    Raises:
        FspoError: if a target does not fit alone. Shots that do not fit are dropped from the front,
            as in training.
    """
    if template_named(template).chained and any(counts):
        every = between or [Between("", [])] * len(counts)
        trees = _few_trees(user_id, shots, targets, counts, every, tokenizer, template)
        if max(tree.longest_path for tree in trees) <= tokenizer.model_max_length:
            return trees
    if any(text.tokens for text in between):
        return _without_first_shots(user_id, shots, targets, counts, between, tokenizer, template)
    return [
        _last_pair(
            EpisodeTree.from_episode(
                Episode(user_id, [*shots[:count], target]), tokenizer, template
            )
        )
        for count in counts
        for target in targets
    ]


def probe_gaps(logps: Sequence[Tensor], counts: int) -> NDArray[np.float64]:
    """Returns what a model gave for each response of `probe_trees`, chosen less rejected.

    Args:
        logps: for each tree, float (responses,), in nats.
        counts: how many numbers of shots were asked about.

    Returns:
        Float64 (counts, targets).
    """
    flat = np.concatenate([np.asarray(own.tolist(), np.float64) for own in logps])
    gaps: NDArray[np.float64] = (flat[0::2] - flat[1::2]).reshape(counts, -1)
    return gaps


def _few_trees(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    between: Sequence[Between],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[EpisodeTree]:
    """As many counts to a tree as give it about `_BRANCHES` tokens of branches.

    Branches are masked from each other, and a mask costs the square of what it hides: to read the
    chain a few times is cheaper than one tree with all branches.
    """
    whole = _one_tree(user_id, shots, targets, counts, between, tokenizer, template)
    branches = len(whole) - int(whole.leaves[0])
    at_once = max(1, round(_BRANCHES * len(counts) / max(1, branches)))
    if at_once >= len(counts):
        return [whole]
    starts = list(range(0, len(counts), at_once))
    if not counts[at_once - 1]:
        starts.remove(at_once)  # a tree whose chain is empty is none
    return [
        _one_tree(
            user_id,
            shots[: counts[end - 1]],
            targets,
            counts[start:end],
            between[start:end],
            tokenizer,
            template,
        )
        for start, end in zip(starts, [*starts[1:], len(counts)], strict=True)
    ]


def _one_tree(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    between: Sequence[Between],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> EpisodeTree:
    encoder = Encoder(tokenizer)
    builder = TreeBuilder(encoder.start)
    written = encode_pairs(blocks(shots, template), encoder)
    laid = 0
    for count, text in zip(counts, between, strict=True):
        for pair in written[laid:count]:
            builder.chain += pair.as_shot(encoder)
        laid = count
        last = list(shots[count - 1 : count])  # a question is not written twice running
        asked = [blocks([*last, target], template)[-1] for target in targets]
        if text.tokens:
            asked = [
                block._replace(lead=question_lead(target.prompt))
                for block, target in zip(asked, targets, strict=True)
            ]
        for pair in encode_pairs(asked, encoder):
            builder.add_branch([*text.tokens, *pair.lead], pair.chosen)
            builder.add_branch([*text.tokens, *pair.lead], pair.rejected)
    return EpisodeTree(user_id, *builder.build())


def _without_first_shots(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    between: Sequence[Between],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> list[EpisodeTree]:
    """Trees for each count, with as many of the last shots before it as fit."""
    trees: list[EpisodeTree] = []
    for count, text in zip(counts, between, strict=True):
        for dropped in range(count):
            kept = shots[dropped:count]
            tree = _one_tree(user_id, kept, targets, [len(kept)], [text], tokenizer, template)
            if tree.longest_path <= tokenizer.model_max_length:
                trees.append(replace(tree, dropped=dropped))
                break
        else:
            trees += [
                _alone(user_id, target, text, count, tokenizer, template) for target in targets
            ]
    return trees


def _alone(
    user_id: str,
    target: Preference,
    between: Between,
    dropped: int,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> EpisodeTree:
    """The tree of a pair without shots; behind what stands before its question, if anything."""
    if not between.tokens:
        tree = EpisodeTree.from_episode(Episode(user_id, [target]), tokenizer, template)
        return replace(tree, dropped=dropped)
    encoder = Encoder(tokenizer)
    lead = encoder.texts([question_lead(target.prompt)])[0]
    tree = EpisodeTree.from_context(
        [*encoder.start, *between.tokens, *lead],
        [neutralize(target.chosen), neutralize(target.rejected)],
        tokenizer,
        f"{target.row or 'preference'}: user {user_id!r}: {between.what}, prompt and response",
    )
    return replace(tree, user_id=user_id, dropped=dropped)


def _last_pair(tree: EpisodeTree) -> EpisodeTree:
    """The tree with nothing priced but its last target."""
    return replace(tree, responses=tree.responses[-2:])
