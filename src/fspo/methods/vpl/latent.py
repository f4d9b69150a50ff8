"""Variational preference learning: a user is a latent vector z, and the reward reads it.

Poddar et al., arXiv 2408.10075. An encoder reads a user's shots into q(z | shots), a Gaussian; the
reward r(x, y, z) of an answer depends on the user through z alone; and with sigmoid(r_w - r_l) for
the probability that w is preferred to l, the evidence lower bound is maximized:

    E_{z ~ q(z | shots)} [log sigmoid(r(x, w, z) - r(x, l, z))] - KL(q(z | shots) || N(0, I))

As in the authors' code the divergence has a weight (the likelihood is a mean over targets), and
encoder and reward are small networks over vectors of answers, which a language model gives: it is
all that they know about text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fspo.errors import FspoError
from fspo.learning.policy import check_base, read_settings
from fspo.methods.vpl import VplSettings
from fspo.methods.vpl.embeddings import Asked, CachedReader, Read, both_answers, embed
from fspo.models import load_model
from fspo.preferences.records import Preference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS = "vpl.safetensors"


class Posterior(NamedTuple):
    """q(z | shots): a Gaussian whose coordinates are independent.

    Attributes:
        mean: float (latent,).
        log_variance: float (latent,).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A draw of z, made of standard normal noise, float (latent,), so that gradients flow.

        Kingma and Welling, arXiv 1312.6114, section 2.4.
        """
        return self.mean + (self.log_variance / 2).exp() * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, I)), in nats: Kingma and Welling, arXiv 1312.6114, appendix B."""
        terms = self.mean**2 + self.log_variance.exp() - 1 - self.log_variance
        return terms.sum() / 2


class Bound(NamedTuple):
    """The terms of the evidence lower bound of one user's targets.

    Attributes:
        loss: the negative bound, a number.
        margins: float (targets,): r(chosen) - r(rejected), the log-odds.
        kl: the divergence, a number, in nats.
    """

    loss: Tensor
    margins: Tensor
    kl: Tensor


class LatentReward(nn.Module):
    """The encoder q(z | shots) and the reward r(x, y, z), over vectors of answers."""

    def __init__(self, width: int, settings: VplSettings) -> None:
        super().__init__()
        hidden, latent = settings.hidden, settings.latent
        self.latent = latent
        self.norm = nn.LayerNorm(width)  # some of a model's hidden units are huge
        self.pair = _perceptron(2 * width, hidden, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.reward = _perceptron(width + latent, hidden, 1)

    def posterior(self, shots: Tensor) -> Posterior:
        """Returns q(z | shots), in whatever order they come; with none, the prior.

        Each pair's two vectors become one; pairs attend to each other and are averaged.

        Args:
            shots: float (shots, 2, width): of the chosen and of the rejected answers.
        """
        if not len(shots):
            nothing = shots.new_zeros(self.latent)
            return Posterior(nothing, nothing)
        pairs = self.pair(self.norm(shots).flatten(1))
        scores = self.query(pairs) @ self.key(pairs).T / pairs.shape[1] ** 0.5
        pooled = (scores.softmax(1) @ self.value(pairs)).mean(0)
        return Posterior(self.mean(pooled), self.log_variance(pooled))

    def rewards(self, answers: Tensor, z: Tensor) -> Tensor:
        """r(x, y, z) of each answer.

        Args:
            answers: float (..., width).
            z: float (latent,).

        Returns:
            Float (...); only differences between answers to one prompt mean something.
        """
        user = z.expand(*answers.shape[:-1], -1)
        rewards: Tensor = self.reward(torch.cat([self.norm(answers), user], -1))[..., 0]
        return rewards

    def bound(self, shots: Tensor, targets: Tensor, noise: Tensor, weight: float) -> Bound:
        """The loss of one user's targets, after the user's shots.

        Args:
            shots: float (shots, 2, width), as for `posterior`.
            targets: float (targets, 2, width).
            noise: float (latent,), standard normal: z is sampled by it.
            weight: of the divergence.
        """
        posterior = self.posterior(shots)
        chosen, rejected = self.rewards(targets, posterior.sample(noise)).T
        margins, kl = chosen - rejected, posterior.kl()
        return Bound(weight * kl - logsigmoid(margins).mean(), margins, kl)


def _perceptron(width: int, hidden: int, output: int) -> nn.Sequential:
    """Two hidden layers, as in the authors' code."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, output),
    )


def width(model: Any) -> int:
    """Returns how long the vectors are that a language model gives."""
    return int(model.config.get_text_config().hidden_size)


@dataclass
class VplModel:
    """A trained latent reward, and the language model that reads answers for it.

    Attributes:
        model: the language model, with its adapter if one was trained.
        tokenizer: the model's.
        reward: the latent reward.
        settings: what `vpl` said in the recipe.
        embed: reads answers with the model, each of them once.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    reward: LatentReward
    settings: VplSettings
    embed: Read

    def read(self, user_id: str, prompt: str, answers: Sequence[str]) -> Tensor:
        """The vectors of a prompt's answers, float (answers, width)."""
        return self.embed([Asked(user_id, prompt, answer) for answer in answers])

    def read_pairs(self, user_id: str, preferences: Sequence[Preference]) -> Tensor:
        """The vectors of both answers of each preference, float (preferences, 2, width)."""
        if not preferences:
            return torch.zeros(0, 2, width(self.model), device=self.model.device)
        states = self.embed(both_answers(user_id, preferences))
        return states.view(-1, 2, states.shape[-1])


def load_vpl(folder: str | Path) -> VplModel:
    """Loads what `fspo train` wrote for method vpl.

    Raises:
        FspoError: if the folder does not hold it, or it does not fit its model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS
    written = read_settings(folder)
    check_base(folder, written)
    settings = VplSettings.model_validate(written["vpl"])
    model, tokenizer = load_model(written["model"] if settings.frozen else str(folder))
    reward = LatentReward(width(model), settings).to(model.device).eval()
    try:
        reward.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise FspoError(
            f"{path}: cannot be used with model {written['model']!r}: {str(error).splitlines()[0]}"
        ) from error
    read = CachedReader(partial(embed, model, tokenizer, template=written["template"]))
    return VplModel(model, tokenizer, reward, settings, read)
