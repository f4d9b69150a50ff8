"""Reads a model's log-probabilities and hidden states off trees, several in one forward pass.

Only the rows that predict a response token go through the output layer, a few at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fspo.learning.attention import laid_out
from fspo.learning.exactness import reads_paths
from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Ints

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    read = read_rows(causal, trees, reads_paths(model))
    logps = _row_logps(
        read.hidden,
        torch.from_numpy(read.targets).to(read.hidden.device),
        own_head(causal, read.kind),
        trainable=any(p.requires_grad for p in _head_parameters(causal)),
    )
    sums = torch.stack([part.sum() for part in logps.split(read.lengths)])
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

    read = read_rows(causal_model(model), trees, reads_paths(model))
    ends = torch.tensor(read.lengths, device=read.hidden.device).cumsum(0) - 1
    return list(read.hidden[ends].split([len(tree.responses) for tree in trees]))


def causal_model(model: Any) -> Any:
    """The transformers model itself, out of the adapter that may be wrapped around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class Rows(NamedTuple):
    """The outputs of a model where responses are predicted, response after response.

    Attributes:
        hidden: the last hidden states, float (all response tokens, width).
        targets: int64 (all response tokens,): the tokens to be predicted.
        lengths: how many of these each response has, tree by tree.
        kind: of what the model's decoder gives.
    """

    hidden: Tensor
    targets: Ints
    lengths: list[int]
    kind: Any


def read_rows(causal: Any, trees: Sequence[EpisodeTree], paths: bool) -> Rows:
    """Reads trees, in one forward pass, or each path from the root by itself.

    Args:
        causal: a causal language model of transformers.
        trees: at least one.
        paths: whether every path is read alone, with no mask: slower, and right for models whose
            layers carry on what they have read in other ways than by attention.
    """
    import torch

    if paths:
        return _read_paths(causal, trees)
    batch, masks = laid_out(causal, trees)
    output = _decoded(causal, batch.tokens, batch.positions, masks)
    rows = torch.from_numpy(batch.rows).to(causal.device)
    hidden = output.last_hidden_state.flatten(0, 1)[rows]
    return Rows(hidden, batch.targets, batch.lengths, type(output))


def _read_paths(causal: Any, trees: Sequence[EpisodeTree]) -> Rows:
    import torch

    hidden: list[Tensor] = []
    for tree in trees:
        together: dict[int, list[int]] = defaultdict(list)  # responses by the path they end on
        for number, response in enumerate(tree.responses):
            together[int(tree.branch[response.rows[-1]])].append(number)
        read: dict[int, Tensor] = {}
        for numbers in together.values():
            end = max(tree.responses[number].rows[-1] for number in numbers)
            output = _decoded(causal, np.asarray([tree.path(end)]))
            for number in numbers:
                where = torch.from_numpy(tree.positions[tree.responses[number].rows])
                read[number] = output.last_hidden_state[0, where.to(causal.device)]
        hidden += [read[number] for number in range(len(tree.responses))]
    responses = [response for tree in trees for response in tree.responses]
    targets = np.array([token for r in responses for token in r.tokens], np.int64)
    return Rows(torch.cat(hidden), targets, [len(r.tokens) for r in responses], type(output))


def _decoded(causal: Any, tokens: Ints, positions: Ints | None = None, masks: Any = None) -> Any:
    """Returns what the model's decoder gives for token ids (rows, columns)."""
    import torch

    given: dict[str, Any] = {}
    if positions is not None:
        given = {
            "position_ids": torch.from_numpy(positions).to(causal.device),
            "attention_mask": masks,
        }
    ids = torch.from_numpy(tokens).to(causal.device)
    return decoder_of(causal)(input_ids=ids, use_cache=False, **given)


def own_head(causal: Any, kind: Any) -> Head:
    """Hidden states to logits, by the model's own forward pass behind its decoder.

    Whatever it does there (scales, caps, further layers) is done. A copy of the model shares all of
    its modules but the decoder, in whose place stands what gives the hidden states.

    Args:
        causal: a causal language model of transformers.
        kind: the type of its decoder's output.
    """
    import torch
    from torch import nn

    decoder = decoder_of(causal)

    class Given(nn.Module):
        """Stands where the decoder is, and is what it was but for what it gives."""

        hidden: Tensor

        def forward(self, *_: Any, **__: Any) -> Any:
            return kind(last_hidden_state=self.hidden)

        def __getattr__(self, name: str) -> Any:
            # Some models call the decoder within their decoder themselves.
            return self if name == "decoder" else getattr(decoder, name)

    behind, given = copy(causal), Given()
    behind._modules = {**causal._modules, _decoder_name(causal): given}

    def head(hidden: Tensor) -> Tensor:
        given.hidden = hidden[None]
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        logits: Tensor = type(causal).forward(behind, input_ids=ids, use_cache=False).logits[0]
        return logits

    return head


def decoder_of(causal: Any) -> Any:
    """The part of a model that gives the last hidden states."""
    return causal.get_submodule(_decoder_name(causal))


def _decoder_name(causal: Any) -> str:
    # Some name a part by which they are within a larger model.
    prefix: str = causal.base_model_prefix
    return prefix if prefix in causal._modules else "model"


def _head_parameters(causal: Any) -> Iterator[Any]:
    """The weights behind the decoder, tied ones included."""
    for name, module in causal.named_children():
        if name != _decoder_name(causal):
            yield from module.parameters()


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
