"""The loss of a tree's targets, from the log-probs of its responses.

Responses come in couples, chosen and rejected of one target after the other (fspo.learning.tree);
fspo.learning.objectives has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fspo.learning import objectives
from fspo.learning.tree import EpisodeTree


@dataclass(frozen=True)
class TreeLoss:
    """The loss of each target of a tree.

    Raises:
        FspoError: if there is no such objective.
    """

    objective: str
    beta: float
    reduction: objectives.Reduction = "sum"
    nll: float = 0.0  # weight of the chosen response's log-loss per token beside it, if the
    # objective has a reference and the tree does not say otherwise

    def __post_init__(self) -> None:
        objectives.objective_named(self.objective)

    @property
    def needs_reference(self) -> bool:
        """Returns whether the reference's log-probs are read."""
        return objectives.objective_named(self.objective).needs_reference

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
        objective = objectives.objective_named(self.objective)
        now = reduced(tree, policy, self.reduction)
        chosen, rejected = now[0::2], now[1::2]
        h = chosen - rejected
        if objective.needs_reference:
            if reference is None:
                raise ValueError(f"{self.objective}: the reference's log-probs are needed")
            before = reduced(tree, reference, self.reduction)
            h = objectives.margin(chosen, rejected, before[0::2], before[1::2])
        as_chosen = objective.loss(h, chosen, self.beta)
        losses = _expected(tree, as_chosen, objective.loss(-h, rejected, self.beta))
        weights = tree.nll or [self.nll] * len(losses)
        if objective.needs_reference and any(weights):
            log_loss = objectives.nll(policy, _lengths(tree, policy))[0::2]
            losses = losses + torch.tensor(weights, device=policy.device) * log_loss
        return losses, h.detach()


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
