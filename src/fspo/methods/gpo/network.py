"""The network of `gpo`: a small transformer over embeddings, which knows nothing about texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Network(nn.Module):
    """Scores responses for a user whose context pairs it attends to.

    There are no positions, so the order of the pairs carries no information, and every token
    attends to the context alone: targets see neither each other nor themselves (Zhao et al., arXiv
    2310.11523, section 2.2 and figure 2).
    """

    def __init__(
        self,
        embedding: int,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        """`embedding` is the width of a text's vector; `dropout` acts in training alone."""
        super().__init__()
        self.center: Tensor
        self.register_buffer("center", torch.zeros(embedding))
        self.scale = embedding**0.5  # vectors come with length 1
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(embedding, width)
        self.nobody = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, pairs: Tensor, present: Tensor, targets: Tensor) -> Tensor:
        """Scores the targets; a difference of two scores is log-odds, in nats.

        Args:
            pairs: float (users, pairs, 2, embedding), the context: chosen, then rejected.
            present: bool (users, pairs), False where a user has fewer pairs.
            targets: float (users, targets, embedding).

        Returns:
            float (users, targets).
        """
        users, length = present.shape
        chosen, rejected = self._tokens(pairs).unbind(2)
        nobody = self.nobody.expand(users, 1, -1)  # what is attended to without any pair
        tokens = torch.cat([nobody, chosen - rejected, self._tokens(targets)], dim=1)
        seen = torch.cat([present.new_ones(users, 1), present], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, seen)
        scores: Tensor = self.score(self.norm(tokens[:, 1 + length :]))
        return scores.squeeze(-1)

    def _tokens(self, vectors: Tensor) -> Tensor:
        tokens: Tensor = self.project(self.dropout((vectors - self.center) * self.scale))
        return tokens


class _Layer(nn.Module):
    """A transformer's layer, norms first, whose keys are the leading tokens alone."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """`tokens` float (users, tokens, width); `seen` bool (users, context), of the first."""
        normed = self.norm(tokens)
        keys, values = self.key_value(normed[:, : seen.shape[1]]).chunk(2, dim=-1)
        query, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(normed), keys, values)
        )
        read = scaled_dot_product_attention(query, keys, values, attn_mask=seen[:, None, None, :])
        tokens = tokens + self.dropout(self.out(read.transpose(1, 2).flatten(2)))
        grown: Tensor = tokens + self.dropout(self.feed_forward(tokens))
        return grown
