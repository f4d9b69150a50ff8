"""Attention over trees: each token sees its own path to the root, and nothing else.

On CUDA trees are packed into one sequence, and FlexAttention skips the blocks of it that no token
sees. Elsewhere trees stand side by side: on a CPU the chains are read by the plain causal kernel,
and the branches block by block (`blocks.py`); else (eager attention, dropout, values narrower than
keys, sliding windows shorter than the tree) one dense mask says it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.learning.batch import PackedTrees, TreeBatch
from fspo.learning.tree import EpisodeTree

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.attention.flex_attention import BlockMask

    from fspo.learning.blocks import Block

_NAME = "fspo_tree"
_BLOCK = 128  # what FlexAttention skips or reads at once
_COLUMNS = 128  # of branches, that a CPU reads at once


def laid_out(
    causal: Any, trees: Sequence[EpisodeTree]
) -> tuple[TreeBatch | PackedTrees, Tensor | BlockMask | dict[str, Any]]:
    """Trees as a model reads them in one pass, and what to pass to it as `attention_mask`.

    Args:
        causal: a causal language model of transformers; from its first tree on, its attention is
            "fspo_tree", which is "sdpa" for everything that is not a tree.
        trees: at least one.
    """
    if packs(causal):
        packed = PackedTrees(trees, _BLOCK)
        return packed, _block_masks(causal, packed)
    batch = TreeBatch(trees)
    return batch, tree_masks(causal, batch)


def packs(causal: Any) -> bool:
    """Returns whether a model reads trees packed: on CUDA, where FlexAttention can."""
    return causal.device.type == "cuda" and causal._supports_flex_attn and _is_ours(causal)


def _is_ours(causal: Any) -> bool:
    """Returns whether attention is of the kind that we compute for it, and drops nothing."""
    config = causal.config.get_text_config()
    drops = causal.training and getattr(config, "attention_dropout", 0.0)
    return config._attn_implementation in ("sdpa", _NAME) and not drops


def _block_masks(causal: Any, packed: PackedTrees) -> BlockMask | dict[str, BlockMask]:
    """The mask of packed trees; one for each type of attention layer where a model has several."""
    import torch

    config = causal.config.get_text_config()
    config._attn_implementation = _registered()
    positions, branch, trunk, leaves = (
        torch.from_numpy(numbers).to(causal.device, torch.int32)
        for numbers in (packed.positions[0], packed.branch, packed.trunk, packed.leaves)
    )

    def full(_: Tensor, __: Tensor, q: Tensor, k: Tensor) -> Tensor:
        before = (branch[k] == trunk[q]) & (positions[k] < leaves[q])
        return (positions[k] <= positions[q]) & ((branch[k] == branch[q]) | before)

    window, kinds = _sliding(config, int(packed.positions.max()))
    if not window:
        return _block_mask(full, len(branch), causal.device)

    def sliding(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return full(batch, head, q, k) & (positions[q] - positions[k] < window)

    near = _block_mask(sliding, len(branch), causal.device)
    if kinds == {"sliding_attention"}:
        return near
    far = _block_mask(full, len(branch), causal.device)
    return {"full_attention": far, "sliding_attention": near}


def _block_mask(seen: Any, length: int, device: Any) -> BlockMask:
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(seen, None, None, length, length, device, BLOCK_SIZE=_BLOCK)


def _sliding(config: Any, last: int) -> tuple[int, set[str]]:
    """The window of sliding layers, 0 if no token is that far from another, and the layer types."""
    window = int(getattr(config, "sliding_window", None) or 0)
    kinds = set(getattr(config, "layer_types", None) or []) or {"sliding_attention"}
    return (window if window <= last and "sliding_attention" in kinds else 0), kinds


def tree_masks(causal: Any, batch: TreeBatch) -> Tensor | dict[str, Tensor]:
    """The mask of trees that stand side by side.

    Returns:
        Float (trees, 1, columns, columns), 0 where a token is seen and the dtype's minimum
        elsewhere; one for each type of attention layer where a model has several. Where attention
        is ours, an empty one with a row for each column of branches, which carries their `blocks`:
        transformers hands on what has four dimensions as it is.
    """
    import torch

    config = causal.config.get_text_config()
    window, kinds = _sliding(config, int(batch.positions.max()))
    if not window and _reads_blocks(causal):
        config._attn_implementation = _registered()
        trees, columns = batch.tokens.shape
        mask: Any = torch.empty((trees, 1, columns - batch.chain, 0))
        mask.blocks = _blocks(causal, batch)
        return mask  # type: ignore[no-any-return]
    visible = torch.from_numpy(batch.visible())
    full = _to_add(causal, visible)
    if not window:
        return full
    positions = torch.from_numpy(batch.positions)
    distance = positions[:, :, None] - positions[:, None, :]
    sliding = _to_add(causal, visible & (distance < window))
    if kinds == {"sliding_attention"}:
        return sliding
    return {"full_attention": full, "sliding_attention": sliding}


def _reads_blocks(causal: Any) -> bool:
    """Returns whether a CPU's kernel can read branches in blocks: values are as wide as keys."""
    narrow = hasattr(causal.config.get_text_config(), "v_head_dim")
    return causal.device.type == "cpu" and _is_ours(causal) and not narrow


def _blocks(causal: Any, batch: TreeBatch) -> list[Block]:
    """The columns of branches in blocks of like size, and what each of them sees."""
    import torch

    from fspo.learning.blocks import Block

    visible, chain, columns = batch.visible(), batch.chain, batch.tokens.shape[1]
    count = -(-(columns - chain) // _COLUMNS)
    blocks = []
    for start, end in pairwise(np.linspace(chain, columns, count + 1).round().astype(int).tolist()):
        own = visible[:, start:end]
        seen = np.flatnonzero(own.any((0, 1)))
        before = int(seen[seen < chain].max(initial=-1)) + 1
        first = int(seen[seen >= chain][0])
        both = np.concatenate([own[:, :, :before], own[:, :, first:end]], 2)
        blocks.append(Block(start, end, before, first, _to_add(causal, torch.from_numpy(both))))
    return blocks


def _to_add(causal: Any, visible: Tensor) -> Tensor:
    """Returns the mask to add to attention scores: layers would each convert one of bool."""
    import torch

    device, dtype = causal.device, causal.dtype
    mask = torch.zeros(visible.shape, device=device, dtype=dtype)
    return mask.masked_fill_(~visible.to(device), torch.finfo(dtype).min)[:, None]


def _registered() -> str:
    """Makes our attention known to transformers, once."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if _NAME not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        AttentionInterface.register(_NAME, _tree_attention)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
    return _NAME


def _tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: query (trees, heads, length, width), and so on.

    A mask with blocks is that of a CPU's trees.
    """
    from torch.nn.attention.flex_attention import BlockMask
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if isinstance(attention_mask, BlockMask):
        output = flex_kernel()(
            query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2).contiguous(), None
    blocks = getattr(attention_mask, "blocks", None)
    if blocks is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    from fspo.learning.blocks import TreeAttention

    chain = query.shape[2] - attention_mask.shape[2]  # type: ignore[union-attr]
    query, key = query.to(value.dtype), key.to(value.dtype)  # others only within autocast
    return TreeAttention.apply(query, key, value, chain, blocks, scaling), None  # type: ignore[no-untyped-call]


@cache
def flex_kernel() -> Any:
    """FlexAttention, compiled once for all lengths: once for each would cost more than it saves."""
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
