"""Builds trees of tokens: texts become token ids, one chain of them, and branches that leave it.

It knows the template's blocks and a tokenizer; what is done with a tree is for others to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fspo.learning.templates import DISPREFERRED, Block, neutralize
from fspo.letters import letters, start_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]
Ints = npt.NDArray[np.int64]


class Response(NamedTuple):
    """A response in a tree.

    Attributes:
        start: the position of its first token.
        tokens: its token ids, end-of-text included.
        rows: the indices of the tree's tokens that predict them, one for each.
    """

    start: int
    tokens: Tokens
    rows: Tokens


class Encoder:
    """Turns text into token ids; markers come only from us, never from the text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.end: int = tokenizer.eos_token_id
        self.start: Tokens = start_of(tokenizer)
        self.link: Tokens = self.texts([DISPREFERRED])[0]

    def texts(self, texts: Sequence[str]) -> list[Tokens]:
        """The token ids of each text."""
        return letters(self._tokenizer, texts)

    def responses(self, responses: Sequence[str]) -> list[Tokens]:
        """Responses as they are priced: neutralized, with an end token."""
        return [[*ids, self.end] for ids in self.texts([neutralize(r) for r in responses])]


class Pair(NamedTuple):
    """A block as tokens: what leads up to it, and both responses with their end token."""

    lead: Tokens
    chosen: Tokens
    rejected: Tokens

    def as_shot(self, encoder: Encoder) -> Tokens:
        """The pair as an example: both responses, one after the other."""
        return [*self.lead, *self.chosen, *encoder.link, *self.rejected]


def encode_pairs(written: Sequence[Block], encoder: Encoder) -> list[Pair]:
    """Each block's tokens."""
    # One call for all texts: a tokenizer's overhead is in the call, not in the text.
    ids = encoder.texts([text for block in written for text in block])
    return [
        Pair(lead, [*chosen, encoder.end], [*rejected, encoder.end])
        for lead, chosen, rejected in zip(ids[0::3], ids[1::3], ids[2::3], strict=True)
    ]


class TreeArrays(NamedTuple):
    """A tree's arrays; what they mean stands at `EpisodeTree`."""

    tokens: Ints
    positions: Ints
    branch: Ints
    leaves: Ints
    responses: list[Response]


class TreeBuilder:
    """Holds a tree while it is built: the chain so far, and the branches that have left it."""

    def __init__(self, chain: Tokens) -> None:
        self.chain = list(chain)
        self._branches: list[tuple[int, Tokens, Tokens]] = []  # where it leaves, lead, the rest
        self._responses: list[tuple[int, int, Tokens]] = []  # branch, start, tokens

    def add_target(self, pair: Pair) -> None:
        """Puts the chosen response on the chain, and the rejected one on a branch beside it."""
        self._responses.append((0, len(self.chain), pair.chosen))
        self.add_branch([], pair.rejected)
        self.chain += pair.chosen

    def add_branch(self, lead: Tokens, response: Tokens) -> None:
        """Puts a response, behind what leads up to it, on a branch that leaves the chain here.

        As far as the chain goes on with the same lead, the branch leaves it that much later.
        """
        self._branches.append((len(self.chain), lead, response[:-1]))
        start = len(self.chain) + len(lead)
        self._responses.append((len(self._branches), start, response))

    def build(self) -> TreeArrays:
        """Returns the arrays: the chain, then the branches in the order in which they left it."""
        tokens = list(self.chain)
        positions = list(range(len(self.chain)))
        branch = [0] * len(self.chain)
        begins, leaves = [0], [len(self.chain)]  # where each branch is stored, and where it leaves
        for number, (leave, lead, rest) in enumerate(self._branches, 1):
            shared = len(commonprefix([self.chain[leave : leave + len(lead)], lead]))
            leave, ids = leave + shared, [*lead[shared:], *rest]
            begins.append(len(tokens))
            leaves.append(leave)
            tokens += ids
            positions += range(leave, leave + len(ids))
            branch += [number] * len(ids)
        responses = [
            Response(start, ids, _rows(start, len(ids), begins[number], number and leaves[number]))
            for number, start, ids in self._responses
        ]
        return TreeArrays(
            np.asarray(tokens, np.int64),
            np.asarray(positions, np.int64),
            np.asarray(branch, np.int64),
            np.asarray(leaves, np.int64),
            responses,
        )


def _rows(start: int, length: int, begin: int, leave: int) -> Tokens:
    """Returns where the tokens that predict a response stand: each before the next on its path.

    Args:
        start: the position of the response's first token.
        length: how many tokens it has.
        begin: where its branch is stored; 0 for the chain.
        leave: the position at which its branch leaves the chain; 0 for the chain.
    """
    positions = range(start - 1, start + length - 1)
    return [begin + at - leave if at >= leave else at for at in positions]
