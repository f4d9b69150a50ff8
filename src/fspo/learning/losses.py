"""The loss of a tree's targets, from the log-probs of its responses.

Responses come in couples, chosen and rejected of one target after the other (fspo.learning.tree);
fspo.learning.objectives has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fspo.learning import objectives
from fspo.learning.tree import DESCRIBES, EpisodeTree


@dataclass(frozen=True)
class TreeLoss:
    """What is minimized for each target of a tree."""

    objective: objectives.Objective
    beta: float
    reduction: objectives.Reduction = "sum"
    nll: float = 0.0  # ipo, dpo: weight of the chosen response's log-loss per token beside it
    nll_descriptions: float = 0.0  # the same where the response is a description

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's log-probs are read."""
        return self.objective != "sft"

    def __call__(
        self, tree: EpisodeTree, policy: Tensor, reference: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The losses of a tree's targets, and by how much the policy prefers what was chosen.

        Args:
            tree: whose targets they are.
            policy: float (responses,), its responses' summed log-probs by the policy.
            reference: the same by the reference; None where it is not needed.

        Returns:
            float (targets,), the losses; float (targets,), the margins in nats, without gradient,
            over the reference where it is needed.

        Raises:
            ValueError: if the reference is needed and not given.
        """
        now = reduced(tree, policy, self.reduction)
        if not self.needs_reference:
            losses = _expected(tree, objectives.sft(now[0::2]), objectives.sft(now[1::2]))
            return losses, (now[0::2] - now[1::2]).detach()
        if reference is None:
            raise ValueError(f"{self.objective}: the reference's log-probs are needed")
        before = reduced(tree, reference, self.reduction)
        h = objectives.margin(now[0::2], now[1::2], before[0::2], before[1::2])
        loss_of = objectives.ipo if self.objective == "ipo" else objectives.dpo
        losses = _expected(tree, loss_of(h, self.beta), loss_of(-h, self.beta))
        if self.nll or self.nll_descriptions:
            losses = losses + self._likelihood(tree, policy)
        return losses, h.detach()

    def _likelihood(self, tree: EpisodeTree, logps: Tensor) -> Tensor:
        """The weighted log-loss of each target's chosen response, (targets,), or of description."""
        weights = [
            self.nll_descriptions if label == DESCRIBES else self.nll
            for label in tree.labels or [""] * (len(logps) // 2)
        ]
        losses = objectives.nll(logps, _lengths(tree, logps))[0::2]
        return torch.tensor(weights, device=logps.device) * losses


def reduced(tree: EpisodeTree, logps: Tensor, reduction: objectives.Reduction) -> Tensor:
    """Summed log-probs of a tree's responses, float (responses,), as they are or per token."""
    return logps if reduction == "sum" else logps / _lengths(tree, logps)


def _expected(tree: EpisodeTree, as_chosen: Tensor, otherwise: Tensor) -> Tensor:
    """The loss of each target, (targets,), as far as it is known what the user chose."""
    if not tree.likely:
        return as_chosen
    likely = torch.tensor(tree.likely, device=as_chosen.device, dtype=as_chosen.dtype)
    return objectives.expected(as_chosen, otherwise, likely)


def _lengths(tree: EpisodeTree, logps: Tensor) -> Tensor:
    """The number of tokens of each response, (responses,), where `logps` are."""
    return torch.tensor([len(response.tokens) for response in tree.responses], device=logps.device)
