"""Draws answers token by token, reproducibly from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CANDIDATES = 512  # a nucleus is looked for among so many tokens: sorting all of them is slow


@dataclass(frozen=True)
class Sampling:
    """Settings of how an answer is drawn.

    Attributes:
        max_tokens: where it is cut off.
        temperature: 0 takes the likeliest token.
        top_p: the share of probability that is sampled from, over 0 and at most 1.
        stop: texts that end it.
        seed: what it depends on; None takes another one each time.
    """

    max_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    stop: Sequence[str] = ()
    seed: int | None = None


class Sampler:
    """Draws tokens from logits with its own random numbers, so that no global state is touched."""

    def __init__(self, temperature: float, top_p: float, seed: int, device: torch.device) -> None:
        import torch

        self.temperature = temperature
        self.top_p = top_p
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """One token for each row of `logits`."""
        import torch

        if self.temperature == 0:
            return logits.argmax(dim=-1)
        probabilities = torch.softmax(logits.float() / self.temperature, dim=-1)
        if self.top_p >= 1:
            return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0]
        best, tokens = probabilities.topk(min(_CANDIDATES, probabilities.shape[-1]))
        before = best.cumsum(dim=-1) - best
        best = best.masked_fill(before >= self.top_p, 0.0)
        places = torch.multinomial(best, 1, generator=self.generator)
        return tokens.gather(-1, places)[:, 0]
