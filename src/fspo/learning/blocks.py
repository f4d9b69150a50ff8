"""Attention over trees on a CPU, by PyTorch's kernels, on the parts of a tree that see each other.

The chain is causal. The branches are read in blocks of columns, each of which sees the chain up to
where its last branch leaves it, and itself: what no token of a block sees is left out. One mask
over all branches would compute about twice as much for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Block(NamedTuple):
    """Some of the columns that hold branches, and what they see.

    Attributes:
        start: the first column.
        end: the column behind the last one.
        before: how many columns of chains the block sees some of.
        first: the first column of branches that it sees: before `start` where a branch is cut.
        mask: float (trees, 1, end - start, before + end - first), added to attention scores: of
            chains' columns, then of branches'.
    """

    start: int
    end: int
    before: int
    first: int
    mask: Tensor


class TreeAttention(torch.autograd.Function):
    """`softmax(q k^T scale + mask) v` of trees side by side, chains in the first columns.

    Keys and values are kept once for each of their heads, however many heads of queries read them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        chain: int,
        blocks: list[Block],
        scale: float | None,
    ) -> Tensor:
        """Attention's output, float (trees, columns, heads, width).

        Args:
            ctx: autograd's.
            query: float (trees, heads, columns, width).
            key: float (trees, heads of keys, columns, width).
            value: likewise.
            chain: how many columns hold chains; they come first.
            blocks: the columns behind them.
            scale: of the scores; default: one over the root of the width.
        """
        trees, heads, columns, width = query.shape
        output = query.new_empty(trees, columns, heads, width)
        sums = []
        for part in _parts(query, key, value, chain, blocks):
            options = {"attn_mask": part.mask, "scale": scale}
            found, logsumexp = _forward(
                part.query, part.key, part.value, 0.0, part.mask is None, **options
            )
            output[:, part.columns] = _unfolded(found, heads).transpose(1, 2)
            sums.append(logsumexp)
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.chain, ctx.blocks, ctx.scale = chain, blocks, scale
        return output

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, output, *sums = ctx.saved_tensors
        of_query = torch.empty_like(query)
        of_key, of_value = torch.zeros_like(key), torch.zeros_like(value)
        heads = key.shape[1]
        slope, output = slope.transpose(1, 2), output.transpose(1, 2)
        parts = _parts(query, key, value, ctx.chain, ctx.blocks)
        for part, logsumexp in zip(parts, sums, strict=True):
            own_slope, own_output = (
                _folded(whole[:, :, part.columns], part.query.shape[1]) for whole in (slope, output)
            )
            options = {"attn_mask": part.mask, "scale": ctx.scale}
            inputs = (part.query, part.key, part.value, own_output, logsumexp)
            found = _backward(own_slope, *inputs, 0.0, part.mask is None, **options)
            of_query[:, :, part.columns] = _unfolded(found[0], query.shape[1])
            for whole, own in zip((of_key, of_value), found[1:], strict=True):
                own = own.unflatten(1, (heads, -1)).sum(2)
                at = 0
                for seen in part.seen:
                    whole[:, :, seen] += own[:, :, at : at + seen.stop - seen.start]
                    at += seen.stop - seen.start
        return of_query, of_key, of_value, None, None, None


class _Part(NamedTuple):
    """A part that is computed at once: its queries, the columns that they see, and the mask."""

    columns: slice
    seen: list[slice]
    mask: Tensor | None
    query: Tensor
    key: Tensor
    value: Tensor


def _parts(
    query: Tensor, key: Tensor, value: Tensor, chain: int, blocks: list[Block]
) -> Iterator[_Part]:
    """The chains, then block after block.

    A causal kernel wants as many heads of keys as of queries; with a mask, the heads of queries
    that read the same keys are rows of one.
    """
    heads, shared = query.shape[1], key.shape[1]
    ours = slice(0, chain)
    wide = (part[:, :, ours].repeat_interleave(heads // shared, 1) for part in (key, value))
    yield _Part(ours, [ours], None, query[:, :, ours], *wide)
    for block in blocks:
        columns = slice(block.start, block.end)
        seen = [slice(0, block.before), slice(block.first, block.end)]
        own = _folded(query[:, :, columns], shared)
        both = (torch.cat([part[:, :, where] for where in seen], 2) for part in (key, value))
        mask = block.mask.to(query.dtype).repeat(1, 1, heads // shared, 1)
        yield _Part(columns, seen, mask, own, *both)


def _folded(part: Tensor, heads: int) -> Tensor:
    """Heads beyond so many as further rows: (trees, heads, rows, width)."""
    trees, _, columns, width = part.shape
    return part.reshape(trees, heads, -1, columns, width).flatten(2, 3)


def _unfolded(part: Tensor, heads: int) -> Tensor:
    """So many heads again: (trees, heads, columns, width)."""
    trees, shared, rows, width = part.shape
    return part.reshape(trees, heads, rows * shared // heads, width)
