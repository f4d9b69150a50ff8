"""Attention over trees: each token sees its own path to the root, and nothing else.

Where the model's attention is PyTorch's scaled-dot-product attention, the chains are read with the
plain causal kernel, which skips what no token sees, and only the branches with a mask. Elsewhere
(eager attention, sliding windows shorter than the tree) one dense mask says it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fspo.learning.batch import TreeBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

_NAME = "fspo_tree"


def tree_masks(causal: Any, batch: TreeBatch) -> Tensor | dict[str, Tensor]:
    """What to pass to a transformers model as `attention_mask`, so that it reads trees.

    Args:
        causal: a causal language model; from its first tree on, its attention is "fspo_tree", which
            is "sdpa" for everything that is not a tree.
        batch: the trees.

    Returns:
        Float, 0 where a token is seen and the dtype's minimum elsewhere: (trees, 1, branch columns,
        columns), or (trees, 1, columns, columns) where the mask is dense; one for each type of
        attention layer where a model has several.
    """
    import torch

    visible = torch.from_numpy(batch.visible())
    config = causal.config.get_text_config()
    window = int(getattr(config, "sliding_window", None) or 0)
    kinds = set(getattr(config, "layer_types", None) or []) or {"sliding_attention"}
    slides = 0 < window <= batch.positions.max() and "sliding_attention" in kinds
    if not slides and config._attn_implementation in ("sdpa", _NAME):
        config._attn_implementation = _registered()
        return _to_add(causal, visible[:, batch.chain :])
    full = _to_add(causal, visible)
    if not slides:
        return full
    positions = torch.from_numpy(batch.positions)
    distance = positions[:, :, None] - positions[:, None, :]
    sliding = _to_add(causal, visible & (distance < window))
    if kinds == {"sliding_attention"}:
        return sliding
    return {"full_attention": full, "sliding_attention": sliding}


def _to_add(causal: Any, visible: Tensor) -> Tensor:
    """What is added to attention scores: a bool mask would be turned into this in every layer."""
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
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: query (trees, heads, length, width), and so on.

    A mask with fewer rows than there are queries is that of a tree's branches.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    if attention_mask is None or attention_mask.shape[-2] >= query.shape[-2]:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    chain = query.shape[-2] - attention_mask.shape[-2]
    options: dict[str, Any] = {"dropout_p": dropout, "scale": scaling}
    on_chain = scaled_dot_product_attention(
        query[:, :, :chain], key[:, :, :chain], value[:, :, :chain], is_causal=True, **options
    )
    on_branches = scaled_dot_product_attention(
        query[:, :, chain:], key, value, attn_mask=attention_mask, **options
    )
    return torch.cat([on_chain, on_branches], 2).transpose(1, 2).contiguous(), None
