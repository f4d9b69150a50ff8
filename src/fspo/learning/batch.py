"""Several trees side by side: all chains in the first columns, all branches behind them.

With the chains in front, each is an ordinary causal sequence whatever stands in the other rows, and
only the branches need a mask. It knows token ids and positions; it knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fspo.learning.growing import Ints
from fspo.learning.tree import EpisodeTree


class TreeBatch:
    """Trees padded to one shape.

    Attributes:
        chain: how many columns hold chains; the columns behind them hold branches.
        tokens: int64 (trees, columns), 0 where nothing stands.
        positions: int64 (trees, columns).
        rows: int64 (all response tokens,): what predicts each, as an index into the flattened
            batch.
        targets: int64 (all response tokens,): the token to be predicted.
        lengths: the number of tokens of each response, tree by tree.
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
        rows = []
        for index, (tree, places) in enumerate(zip(trees, self._places, strict=True)):
            self.tokens[index, places] = tree.tokens
            self.positions[index, places] = tree.positions
            of_tree = [row for response in tree.responses for row in response.rows]
            rows.append(index * columns + places[of_tree])
        self.rows: Ints = np.concatenate(rows)
        responses = [response for tree in trees for response in tree.responses]
        self.targets: Ints = np.array([t for r in responses for t in r.tokens], np.int64)
        self.lengths = [len(response.tokens) for response in responses]

    def visible(self) -> npt.NDArray[np.bool_]:
        """Who sees whom, bool (trees, columns, columns): `EpisodeTree.visible` for each tree.

        Padding sees itself: a row that sees nothing would be NaN in some attention kernels.
        """
        count, columns = self.tokens.shape
        mask = np.broadcast_to(np.eye(columns, dtype=bool), (count, columns, columns)).copy()
        for index, (tree, places) in enumerate(zip(self._trees, self._places, strict=True)):
            mask[index][np.ix_(places, places)] = tree.visible()
        return mask
