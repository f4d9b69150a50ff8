"""Several trees in one forward pass: side by side, or packed into one sequence.

Side by side, all chains stand in the first columns and all branches behind them: each chain is an
ordinary causal sequence whatever stands in the other rows, and only the branches need a mask.
Packed, trees follow each other without padding between them, for kernels that skip what is not
seen. Both know token ids and positions; they know nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Ints


def passes(trees: Sequence[EpisodeTree], tokens: int) -> list[list[EpisodeTree]]:
    """Trees in groups of like length, to be read in one forward pass each.

    Args:
        trees: at least one.
        tokens: of a group, at most; a tree that has more is a group by itself.
    """
    groups: list[list[EpisodeTree]] = []
    room = 0
    for tree in sorted(trees, key=len):
        if len(tree) > room:
            groups.append([])
            room = tokens
        groups[-1].append(tree)
        room -= len(tree)
    return groups


class _Responses:
    """The responses that are priced in a batch, whichever way its trees are laid out.

    Attributes:
        rows: int64 (all response tokens,): what predicts each, as an index into the flattened
            batch.
        targets: int64 (all response tokens,): the token to be predicted.
        lengths: the number of tokens of each response, tree by tree.
    """

    def __init__(self, trees: Sequence[EpisodeTree], places: Sequence[Ints]) -> None:
        """`places`: where each tree's tokens stand in the flattened batch."""
        rows = [
            where[[row for response in tree.responses for row in response.rows]]
            for tree, where in zip(trees, places, strict=True)
        ]
        self.rows: Ints = np.concatenate(rows)
        responses = [response for tree in trees for response in tree.responses]
        self.targets: Ints = np.array([t for r in responses for t in r.tokens], np.int64)
        self.lengths = [len(response.tokens) for response in responses]


class TreeBatch(_Responses):
    """Trees side by side, padded to one shape.

    Attributes:
        chain: how many columns hold chains; the columns behind them hold branches.
        tokens: int64 (trees, columns), 0 where nothing stands.
        positions: int64 (trees, columns).
    """

    def __init__(self, trees: Sequence[EpisodeTree]) -> None:
        chains = [int(tree.leaves[0]) for tree in trees]
        self.chain = max(chains)
        columns = self.chain + max(
            len(tree) - chain for tree, chain in zip(trees, chains, strict=True)
        )
        self._trees = trees
        self._places = [
            np.where(tree.branch == 0, tree.positions, np.arange(len(tree)) + self.chain - chain)
            for tree, chain in zip(trees, chains, strict=True)
        ]
        self.tokens = np.zeros((len(trees), columns), np.int64)
        self.positions = np.zeros((len(trees), columns), np.int64)
        for index, (tree, places) in enumerate(zip(trees, self._places, strict=True)):
            self.tokens[index, places] = tree.tokens
            self.positions[index, places] = tree.positions
        super().__init__(
            trees, [index * columns + places for index, places in enumerate(self._places)]
        )

    def visible(self) -> npt.NDArray[np.bool_]:
        """Returns who sees whom, bool (trees, columns, columns): `EpisodeTree.visible` of each.

        Padding sees itself: a row that sees nothing would be NaN in some attention kernels.
        """
        count, columns = self.tokens.shape
        mask = np.broadcast_to(np.eye(columns, dtype=bool), (count, columns, columns)).copy()
        for index, (tree, places) in enumerate(zip(self._trees, self._places, strict=True)):
            mask[index][np.ix_(places, places)] = tree.visible()
        return mask


class PackedTrees(_Responses):
    """Trees one after the other in a single row, padded at its end to whole blocks.

    Token q sees token k if `positions[k] <= positions[q]`, and k is on q's own branch or on the
    chain that it leaves, before it does: `branch[k] == branch[q]`, or `branch[k] == trunk[q]` and
    `positions[k] < leaves[q]`. Padding is a branch of its own.

    Attributes:
        tokens: int64 (1, columns), 0 where nothing stands.
        positions: int64 (1, columns).
        branch: int64 (columns,): different for every branch and chain of every tree.
        trunk: int64 (columns,): the chain of each token's tree.
        leaves: int64 (columns,): the position at which the token's branch leaves it; 0 on a chain.
    """

    def __init__(self, trees: Sequence[EpisodeTree], block: int) -> None:
        """`block`: the row's length is a multiple of this."""
        starts = np.cumsum([0, *(len(tree) for tree in trees)])
        branches = np.cumsum([0, *(len(tree.leaves) for tree in trees)])
        columns = -(-int(starts[-1]) // block) * block
        self.tokens = np.zeros((1, columns), np.int64)
        self.positions = np.zeros((1, columns), np.int64)
        self.branch: Ints = np.full(columns, branches[-1], np.int64)
        self.trunk: Ints = self.branch.copy()
        self.leaves: Ints = np.zeros(columns, np.int64)
        places = [start + np.arange(len(t)) for t, start in zip(trees, starts, strict=False)]
        for tree, where, first in zip(trees, places, branches, strict=False):
            self.tokens[0, where] = tree.tokens
            self.positions[0, where] = tree.positions
            self.branch[where] = first + tree.branch
            self.trunk[where] = first
            self.leaves[where] = np.where(tree.branch == 0, 0, tree.leaves[tree.branch])
        super().__init__(trees, places)
