"""Objectives: losses from the log-probs of a policy and of the reference, target by target.

With `h = (log pi(w) - log pi(l)) - (log ref(w) - log ref(l))`, w chosen and l rejected, each given
the user's shots (PAPER: the preference loss of the target, shots in context):

    ipo   (h - 1 / (2 beta))^2       Azar et al., arXiv 2310.12036, equation 17
    dpo   -log sigmoid(beta h)       Rafailov et al., arXiv 2305.18290, equation 7
    sft   -log pi(w)                 Pref-FT: fine-tuning on the preferred response

Log-probs are summed over a response's tokens ("sum": the paper's code, with beta 0.01) or divided
by their number ("mean": TRL's IPO, with beta around 0.1); beta belongs to the one or the other.

Where it is not known what the user chose, but how likely either choice is, what is minimized is the
expected loss: with p for the probability that w is chosen, `p loss(h) + (1 - p) loss(-h)`. For DPO
this is the cross-entropy with p for a label, least where `sigmoid(beta h) = p`.

A preference says which response is better, not that either is likely: trained on it alone, a policy
may take both away from the reference and write something else. A term `nll` for the chosen response
holds it to what users like (Pang et al., arXiv 2404.19733, equation 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from fspo.errors import FspoError

if TYPE_CHECKING:
    from torch import Tensor

Reduction = Literal["sum", "mean"]


def margin(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> Tensor:
    """`h`: by how much more than the reference the policy prefers chosen, in nats.

    Args:
        chosen: float (targets,), the policy's log-probs; the other three likewise.
        rejected: the policy's.
        reference_chosen: the reference's.
        reference_rejected: the reference's.

    Returns:
        float (targets,).
    """
    return (chosen - rejected) - (reference_chosen - reference_rejected)


def ipo(h: Tensor, beta: float) -> Tensor:
    """The IPO loss of each target, float (targets,), `h` in nats."""
    return (h - 1 / (2 * beta)) ** 2


def dpo(h: Tensor, beta: float) -> Tensor:
    """The DPO loss of each target, float (targets,), `h` in nats."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * h)


def expected(as_chosen: Tensor, otherwise: Tensor, likely: Tensor) -> Tensor:
    """The loss of each target whose choice is likely rather than known, float (targets,).

    Args:
        as_chosen: float (targets,), the loss if chosen is what the user chooses.
        otherwise: float (targets,), the loss if it is rejected.
        likely: float (targets,), how likely the user chooses so, 0 to 1.
    """
    return likely * as_chosen + (1 - likely) * otherwise


def sft(chosen: Tensor) -> Tensor:
    """The Pref-FT loss of each target, float (targets,), from the policy's log-probs of chosen."""
    return -chosen


def nll(logps: Tensor, lengths: Tensor) -> Tensor:
    """Each response's negative log-likelihood per token, float (responses,).

    Args:
        logps: float (responses,), the policy's summed log-probs.
        lengths: (responses,), their numbers of tokens.
    """
    return -logps / lengths


class Objective(NamedTuple):
    """An objective, and all that the rest of fspo has to know of it.

    Attributes:
        title: what cards call it.
        loss: of `(h, chosen, beta)`, the loss of each target, float (targets,). Where the user
            chose the other response, it is asked with `-h` and the log-probs of that one.
        needs_reference: whether `h` is over the reference, as in `margin`; otherwise it is
            `log pi(w) - log pi(l)`, no reference is kept in memory, and `nll` does not count.
        stage: what the charts of a training log call it; by default after the title.
    """

    title: str
    loss: Callable[[Tensor, Tensor, float], Tensor]
    needs_reference: bool = True
    stage: str = ""


# In a recipe, `objective` names one of these.
OBJECTIVES = {
    "ipo": Objective("IPO", lambda h, chosen, beta: ipo(h, beta)),
    "dpo": Objective("DPO", lambda h, chosen, beta: dpo(h, beta)),
    "sft": Objective(
        "supervised fine-tuning on chosen responses (Pref-FT)",
        lambda h, chosen, beta: sft(chosen),
        needs_reference=False,
        stage="supervised fine-tuning",
    ),
}


def objective_named(name: str) -> Objective:
    """Returns the objective of that name.

    Raises:
        FspoError: if there is none, with the names that there are.
    """
    if name not in OBJECTIVES:
        raise FspoError(f"objective: there is no {name!r}; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
