"""Trees that ask about the same pairs after several numbers of shots, in as few passes as can be.

The shots are the chain. After each number of them, branches leave it: for each pair the question
with the chosen response, and the question with the rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fspo.learning.growing import Growing, Reader, read_pairs
from fspo.learning.templates import blocks
from fspo.learning.tree import EpisodeTree
from fspo.preferences.records import Episode, Preference

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def probe_trees(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    template: str = "chain",
) -> list[EpisodeTree]:
    """Trees whose responses are, one after the other, those of every target after every count.

    Args:
        user_id: whose preferences.
        shots: in order; a target after k shots sees the first k of them.
        targets: pairs that are asked about, each apart from the others.
        counts: numbers of shots, rising, none above `len(shots)`.
        tokenizer: as in `EpisodeTree.from_episode`.
        template: "chain", or "paper", whose text cannot be shared: a tree for each pair and count.

    Returns:
        Trees; their responses, in order, are chosen and rejected of the first target after the
        first count, those of the second target, ..., then those after the second count, and so on.

    Raises:
        FspoError: if a target does not fit alone. Shots that do not fit are dropped from the front,
            as in training.
    """
    if template == "chain" and any(counts):
        tree = _one_tree(user_id, shots, targets, counts, tokenizer)
        if tree.longest_path <= tokenizer.model_max_length:
            return [tree]
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
    """What a model gave for each response of `probe_trees`, chosen less rejected.

    Args:
        logps: for each tree, float (responses,), in nats.
        counts: how many numbers of shots were asked about.

    Returns:
        Float64 (counts, targets).
    """
    flat = np.concatenate([np.asarray(own.tolist(), np.float64) for own in logps])
    gaps: NDArray[np.float64] = (flat[0::2] - flat[1::2]).reshape(counts, -1)
    return gaps


def _one_tree(
    user_id: str,
    shots: Sequence[Preference],
    targets: Sequence[Preference],
    counts: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> EpisodeTree:
    read = Reader(tokenizer)
    growing = Growing(read.start)
    written = read_pairs(blocks(shots, "chain"), read)
    laid = 0
    for count in counts:
        for pair in written[laid:count]:
            growing.chain += pair.as_shot(read)
        laid = count
        last = list(shots[count - 1 : count])  # a question is not written twice running
        asked = [blocks([*last, target], "chain")[-1] for target in targets]
        for pair in read_pairs(asked, read):
            growing.leave_with(pair.lead, pair.chosen)
            growing.leave_with(pair.lead, pair.rejected)
    return EpisodeTree(user_id, *growing.finish())


def _last_pair(tree: EpisodeTree) -> EpisodeTree:
    """The tree with nothing priced but its last target."""
    return replace(tree, responses=tree.responses[-2:])
