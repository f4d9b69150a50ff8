"""Reads a model's log-probabilities and hidden states off trees, several in one forward pass.

Only the rows that predict a response token go through the output layer, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fspo.learning.attention import laid_out
from fspo.learning.tree import EpisodeTree

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fspo.learning.batch import PackedTrees, TreeBatch

Head = Callable[["Tensor"], "Tensor"]

_ROWS_AT_ONCE = 256


def completion_logps(model: nn.Module, trees: Sequence[EpisodeTree]) -> list[tuple[Tensor, Tensor]]:
    """Prices the chosen and the rejected response of every target of every tree.

    Args:
        model: a causal language model of transformers, with or without a LoRA adapter.
        trees: made by `EpisodeTree.from_episode` with this model's tokenizer.

    Returns:
        For each tree, two float tensors of shape (targets,): the summed log-probs, in nats and
        with the end-of-text token, of the chosen and of the rejected responses, in order.
        Gradients flow to whatever of the model requires them.
    """
    return [(logps[0::2], logps[1::2]) for logps in response_logps(model, trees)]


def response_logps(model: nn.Module, trees: Sequence[EpisodeTree]) -> list[Tensor]:
    """The same for every response: for each tree, a float tensor of shape (responses,)."""
    import torch

    causal: Any = causal_model(model)
    batch, masks = laid_out(causal, trees)
    hidden = _hidden_states(causal, batch, masks)
    device = hidden.device
    logps = _row_logps(
        hidden.flatten(0, 1)[torch.from_numpy(batch.rows).to(device)],
        torch.from_numpy(batch.targets).to(device),
        _head(causal),
        trainable=any(p.requires_grad for p in causal.get_output_embeddings().parameters()),
    )
    sums = torch.stack([part.sum() for part in logps.split(batch.lengths)])
    return list(sums.split([len(tree.responses) for tree in trees]))


def response_ends(model: nn.Module, trees: Sequence[EpisodeTree]) -> list[Tensor]:
    """The last hidden state at each response's last token: what a reward model reads.

    Args:
        model: as for `completion_logps`.
        trees: any.

    Returns:
        For each tree, a float tensor of shape (responses, width). The end-of-text token is not
        read; it is what would be predicted there.
    """
    import torch

    causal: Any = causal_model(model)
    batch, masks = laid_out(causal, trees)
    hidden = _hidden_states(causal, batch, masks).flatten(0, 1)
    rows = torch.from_numpy(batch.rows).to(hidden.device)
    ends = torch.tensor(batch.lengths, device=hidden.device).cumsum(0) - 1
    return list(hidden[rows[ends]].split([len(tree.responses) for tree in trees]))


def causal_model(model: Any) -> Any:
    """The transformers model itself, out of the adapter that may be wrapped around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _hidden_states(causal: Any, batch: TreeBatch | PackedTrees, masks: Any) -> Tensor:
    """The last hidden states, float (trees, columns, width); one row where trees are packed."""
    import torch

    device = causal.device
    hidden: Tensor = causal.base_model(
        input_ids=torch.from_numpy(batch.tokens).to(device),
        position_ids=torch.from_numpy(batch.positions).to(device),
        attention_mask=masks,
        use_cache=False,
    ).last_hidden_state
    return hidden


def _head(causal: Any) -> Head:
    """Hidden states to logits, as the model's own forward pass does it."""
    output = causal.get_output_embeddings()
    config = causal.config.get_text_config()
    soft_cap = getattr(config, "final_logit_softcapping", None)

    def head(hidden: Tensor) -> Tensor:
        logits: Tensor = output(hidden)
        return soft_cap * (logits / soft_cap).tanh() if soft_cap else logits

    return head


def _logits(hidden: Tensor, head: Head) -> Tensor:
    """Of a chunk of rows only, in float32 or wider."""
    import torch

    logits = head(hidden)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _logp(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    logits = _logits(hidden, head)
    picked: Tensor = logits.gather(1, targets[:, None])[:, 0]
    return picked - logits.logsumexp(1)


def _row_logps(hidden: Tensor, targets: Tensor, head: Head, trainable: bool) -> Tensor:
    """The log-prob of each target given its row, float (rows,), a chunk of rows at a time.

    Args:
        hidden: float (rows, width).
        targets: int64 (rows,).
        head: hidden states to logits.
        trainable: whether the head's own weights need gradients.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    chunks = list(zip(hidden.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True))
    if not (torch.is_grad_enabled() and (trainable or hidden.requires_grad)):
        return torch.cat([_logp(h, t, head) for h, t in chunks])
    if trainable:
        return torch.cat([checkpoint(_logp, h, t, head, use_reentrant=False) for h, t in chunks])
    return torch.cat([_frozen_head_logp(h, t, head) for h, t in chunks])


def _frozen_head_logp(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """`_logp` that keeps no logits for the backward pass, for a head that does not learn.

    A row's log-prob depends on that row alone, so its gradient with respect to the row can be taken
    at once; what comes back later is one number for each row, to multiply it with. By its logits it
    is 1 at the target, less the probabilities, which take the place of the log-probs in memory.
    """
    import torch

    with torch.enable_grad():
        row = hidden.detach().requires_grad_()
        logits = _logits(row, head)
    of_all = logits.detach().log_softmax(1)
    logp = of_all.gather(1, targets[:, None])[:, 0]
    fall = of_all.exp_().scatter_add_(1, targets[:, None], -torch.ones_like(logp)[:, None])
    slope = torch.autograd.grad(logits, row, fall)[0].neg_()
    # Equal to logp in value, and to slope in its derivative by hidden.
    return logp + ((hidden - hidden.detach()) * slope).sum(1)
