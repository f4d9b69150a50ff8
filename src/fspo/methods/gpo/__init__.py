"""GPO's form of few-shot preference learning: a small transformer that reads frozen embeddings.

Zhao, Dang and Grover, "Group Preference Optimization" (arXiv 2310.11523): a neural process that is
trained across users to predict a user's choices from others of the same user, in one pass and with
no gradient step for a new user. It departs from the paper in these ways:

- The paper regresses each response's share of a group's votes. Choices between two are known here,
  so a context pair is one token, the difference of the projected embeddings of chosen and rejected,
  and the loss is `-log sigmoid(s[chosen] - s[rejected])` on the targets' scores s. (With a token
  for each response and its label, as in the paper, accuracy grew less with the shots.)
- A learned token stands in the context beside the pairs, so that there may be none.
- Norms come first, embeddings are dropped out, and it is smaller: 3 layers and not 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fspo.console import track
from fspo.llm.embedding import Embedder
from fspo.methods.baselines.vectors import (
    Floats,
    Sample,
    cached,
    draw_samples,
    hold_out,
)
from fspo.preferences.records import Preference, Preferences, User, training_rows

if TYPE_CHECKING:
    from torch import Tensor

    from fspo.methods.gpo.network import Network


class Gpo:
    """A trained network with the embedder that it was trained on."""

    name = "GPO"

    def __init__(self, network: Network, embedder: Embedder) -> None:
        self._network = network.eval()
        self._embed = cached(embedder)

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,), in nats; without shots, what the network expects of anybody.

        Shots and responses are put in alphabetical order, so that neither the shots' order nor
        which response is called chosen changes a single bit of a score.
        """
        import torch

        if not targets:
            return np.zeros(0)
        shots = sorted(shots, key=lambda p: (p.prompt, p.chosen, p.rejected))
        texts = sorted({text for p in targets for text in _texts(p)})
        places = {text: place for place, text in enumerate(texts)}
        vectors = torch.from_numpy(self._embed([t for p in shots for t in _texts(p)] + texts))
        seen = 2 * len(shots)
        with torch.inference_mode():
            scores = self._network(
                vectors[None, :seen].unflatten(1, (len(shots), 2)),
                torch.ones(1, len(shots), dtype=torch.bool),
                vectors[None, seen:],
            )[0].double()
        which = torch.tensor([[places[text] for text in _texts(p)] for p in targets])
        chosen, rejected = scores[which].unbind(1)
        return np.asarray((chosen - rejected).numpy())


def train_gpo(
    preferences: Preferences,
    embedder: Embedder,
    seed: int = 0,
    *,
    most_shots: int = 16,
    steps: int = 1000,
    users_at_once: int = 32,
    learning_rate: float = 5e-4,
    weight_decay: float = 0.1,
    dropout: float = 0.2,
) -> Gpo:
    """Trains a network across users, each with 0 to `most_shots` context pairs at a time.

    A tenth of the users, and of the prompts where there are ten or more, is kept apart; the weights
    that foretell their choices best, of twenty along the way, are those that are returned.

    Args:
        preferences: the training users'.
        embedder: each prompt with its response is embedded once.
        seed: decides the first weights and every draw.
        most_shots: the most context pairs; a network can be asked for more, at a loss.
        steps: of AdamW, the learning rate rising over the first tenth and falling to 0 by a cosine.
        users_at_once: users in a step, each with at most eight targets.
        learning_rate: the highest.
        weight_decay: AdamW's.
        dropout: of embeddings and within layers.

    Raises:
        FspoError: if there are no preferences.
    """
    import torch
    from torch.nn.utils import clip_grad_norm_
    from torch.optim.lr_scheduler import OneCycleLR

    from fspo.methods.gpo.network import Network

    texts = sorted({text for p in training_rows(preferences) for text in _texts(p)})
    places = {text: place for place, text in enumerate(texts)}
    embed = cached(embedder)
    vectors = torch.from_numpy(embed(texts))
    generator = np.random.default_rng(seed)
    training, validation = hold_out(preferences, generator, most_shots)
    batches = _batches(training, generator, steps, users_at_once, most_shots)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(vectors.shape[1], dropout=dropout)
        network.center.copy_(vectors.mean(0))
        weights = list(network.parameters())
        optimizer = torch.optim.AdamW(weights, learning_rate, weight_decay=weight_decay)
        schedule = OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
        best = _Best(network)
        for step, batch in enumerate(track(batches, "training GPO", steps), 1):
            loss = _loss(network.train(), batch, places, vectors)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            if validation and (step % max(1, steps // 20) == 0 or step == steps):
                with torch.no_grad():
                    best.see(float(_loss(network.eval(), validation, places, vectors)))
        best.restore()
    return Gpo(network, embed)


class _Best:
    """The weights that a network had when its loss was least; those it has, if none was seen."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._loss = float("inf")
        self._weights: dict[str, Tensor] = {}

    def see(self, loss: float) -> None:
        if loss < self._loss:
            self._loss = loss
            self._weights = {k: v.clone() for k, v in self._network.state_dict().items()}

    def restore(self) -> None:
        if self._weights:
            self._network.load_state_dict(self._weights)


def _loss(
    network: Network, samples: Sequence[Sample], places: dict[str, int], vectors: Tensor
) -> Tensor:
    """The mean of `-log sigmoid(s[chosen] - s[rejected])` over all targets, in nats."""
    from torch.nn.functional import logsigmoid

    pairs, present = _places([s.shots for s in samples], places, vectors)
    targets, asked = _places([s.targets for s in samples], places, vectors)
    scores = network(pairs, present, targets.flatten(1, 2)).unflatten(1, (-1, 2))
    return -logsigmoid((scores[..., 0] - scores[..., 1])[asked]).mean()


def _batches(
    preferences: Preferences,
    generator: np.random.Generator,
    steps: int,
    users_at_once: int,
    most_shots: int,
) -> Iterator[list[Sample]]:
    """`steps` batches: users take turns in random order, each time with another draw."""
    waiting: list[Sample] = []
    for _ in range(steps):
        while len(waiting) < users_at_once:
            waiting += draw_samples(preferences, generator, most_shots)
        yield waiting[:users_at_once]
        waiting = waiting[users_at_once:]


def _places(
    rows: Sequence[Sequence[Preference]], places: dict[str, int], vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Users' pairs side by side: (users, pairs, 2, embedding), and which are there, (users, pairs).

    Users with fewer pairs than the longest are filled up with pairs that are not there.
    """
    import torch

    found = np.zeros((len(rows), max(len(own) for own in rows), 2), dtype=np.int64)
    present = np.zeros(found.shape[:2], dtype=bool)
    for user, own in enumerate(rows):
        for place, preference in enumerate(own):
            found[user, place] = [places[text] for text in _texts(preference)]
        present[user, : len(own)] = True
    return vectors[torch.from_numpy(found)], torch.from_numpy(present)


def _texts(preference: Preference) -> list[str]:
    """Returns what is embedded for chosen and for rejected: each with the prompt before it."""
    return [f"{preference.prompt}\n{text}" for text in (preference.chosen, preference.rejected)]
