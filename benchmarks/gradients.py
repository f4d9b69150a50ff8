"""What a chain's targets, which share their shots, are worth to the gradient.

    python benchmarks/gradients.py DATA --json FILE

DATA is a folder whose users are split, such as `fspo synthesize reviews` makes. A policy is trained
for a few steps by the recipe of `learning.py`, but on users in random order; then the gradient of
every target of further episodes, one for each user, is taken apart: what all users' gradients have
in common is signal, the rest is noise. From the two follow

- how many independent targets the targets of a chain are worth,
- how much of the noise stays if the same pairs are shown in another order,
- from how many episodes in a step on a larger batch stops paying (the simple noise scale:
  McCandlish et al., arXiv 1812.06162, equation 2.9),
- how much faster the loss after all shots would fall for its noise if targets were weighed by their
  number of shots.

Intervals are of the jackknife over users: two standard errors either way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from learning import BETA, SHOTS, recipe, start, train_fspo
from machine import machine
from numpy.typing import NDArray

from fspo import EpisodeTree
from fspo.console import track
from fspo.evaluation.evaluate import versions
from fspo.files import write_json
from fspo.recipe import TrainRecipe

Floats = NDArray[np.float64]
TARGETS = SHOTS + 1
# By the number of shots before a target: k + 1 to some power, or the last target alone.
WEIGHTS = {
    "(k + 1)^0.5": np.arange(1, TARGETS + 1) ** 0.5,
    "k + 1": np.arange(1.0, TARGETS + 1),
    "(k + 1)^2": np.arange(1.0, TARGETS + 1) ** 2,
    "1 / (k + 1)": 1 / np.arange(1, TARGETS + 1),
    "all shots alone": np.eye(TARGETS)[-1],
}


def parts(products: Floats) -> tuple[Floats, Floats]:
    """Signal and noise of the gradients of some users, by kind of target.

    Args:
        products: (users, kinds, users, kinds), the inner products of all gradients.

    Returns:
        (kinds, kinds) each: the products of the kinds' mean gradients, from different users and so
        without bias, and the covariances of their noise, summed over all weights.
    """
    users = len(products)
    own = np.einsum("isit->st", products) / users
    others = (np.einsum("isjt->st", products) - users * own) / (users * (users - 1))
    return others, own - others


def progress_for_noise(signal: Floats, noise: Floats, weights: Floats) -> float:
    """How far the last kind's loss falls by a weighted step, squared, for the step's noise."""
    return float((weights @ signal[:, -1]) ** 2 / (weights @ noise @ weights))


def found(products: Floats) -> dict[str, float]:
    """What the targets of a chain are worth, from the products of gradients.

    Args:
        products: (users, TARGETS + 1, users, TARGETS + 1); the last kind is the mean gradient of
            the same pairs in another order.
    """
    signal, noise = parts(products)
    among = slice(0, TARGETS)
    equal = np.full(TARGETS, 1 / TARGETS)
    of_mean = float(equal @ noise[among, among] @ equal)
    strength = float(equal @ signal[among, among] @ equal)
    here = progress_for_noise(signal[among, among], noise[among, among], equal)
    return {
        "independent targets in a chain": float(np.diag(noise)[among].mean() / of_mean),
        "noise that stays in another order": float(equal @ noise[among, -1] / of_mean),
        "noise scale, episodes": of_mean / strength,
    } | {
        f"progress weighed by {name}": progress_for_noise(
            signal[among, among], noise[among, among], weights / weights.sum()
        )
        / here
        for name, weights in WEIGHTS.items()
    }


def jackknifed(
    products: Floats, statistic: Callable[[Floats], dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Every figure, with two standard errors either way from leaving out one user at a time."""
    users = len(products)
    left = [np.delete(np.arange(users), user) for user in range(users)]
    without = [statistic(products[own][:, :, own]) for own in left]
    results = {}
    for name, value in statistic(products).items():
        each = np.array([one[name] for one in without])
        error = float(np.sqrt((users - 1) / users * ((each - each.mean()) ** 2).sum()))
        results[name] = {
            "value": round(value, 4),
            "ci95": [round(value - 2 * error, 4), round(value + 2 * error, 4)],
        }
    return results


def by_shots(products: Floats) -> list[dict[str, float]]:
    """The squared length of the mean gradient and the noise around it, by number of shots."""
    signal, noise = parts(products)
    return [
        {
            "shots": k,
            "signal": float(signal[k, k]),
            "towards_all_shots": float(signal[k, TARGETS - 1]),
            "noise": float(noise[k, k]),
        }
        for k in range(TARGETS)
    ]


def gradients(model: Any, tree: EpisodeTree, apart: bool) -> Any:
    """Of each target's loss, float32 (targets, weights), or of their mean, (1, weights)."""
    import torch

    from fspo.learning.objectives import dpo, margin
    from fspo.learning.policy import reference_logps, shared_with_reference
    from fspo.learning.scoring import response_logps

    learning = [weight for weight in model.parameters() if weight.requires_grad]
    with shared_with_reference(model, None):
        (before,) = reference_logps(model, None, [tree])
        (now,) = response_logps(model, [tree])
    losses = dpo(margin(now[0::2], now[1::2], before[0::2], before[1::2]), BETA)
    rows = [
        torch.autograd.grad(loss, learning, retain_graph=True)
        for loss in (losses if apart else [losses.mean()])
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def trained(data: Path, settings: TrainRecipe, users: int) -> tuple[Any, Any, list[Any]]:
    """A policy after a few steps, its tokenizer, and the episodes that come next, one a user."""
    model, tokenizer, dataset = start(settings, data)
    read = settings.trainer["max_steps"] * settings.batch_size
    first = -(-read // len(dataset.users)) * len(dataset.users)  # a turn of all users
    episodes = [dataset.episode(first + k) for k in range(min(users, len(dataset.users)))]
    train_fspo(model, dataset, settings)
    return model, tokenizer, episodes


def measured(model: Any, tokenizer: Any, episodes: Sequence[Any]) -> Floats:
    """The products of all gradients: of each target, and of the same pairs' mean, turned round."""
    import torch

    model.eval()
    rows = []
    for episode in track(episodes, "gradients", len(episodes)):
        turned = replace(episode, preferences=list(reversed(episode.preferences)))
        tree, other = (EpisodeTree.from_episode(e, tokenizer, "chain") for e in (episode, turned))
        rows += [gradients(model, tree, apart=True), gradients(model, other, apart=False)]
    every = torch.cat(rows)
    kinds = TARGETS + 1
    products: Floats = (every @ every.T).double().numpy()
    return products.reshape(len(episodes), kinds, len(episodes), kinds)


def main() -> None:
    """Trains for a few steps, measures, prints and keeps the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=6, help="of training, before")
    parser.add_argument("--batch", type=int, default=4, help="episodes in each of them")
    parser.add_argument("--users", type=int, default=48, help="whose gradients are taken")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    given = parser.parse_args()
    # Two opposites with the same draw would not be two independent users.
    settings = recipe("chain", given.batch).model_copy(
        update={"paired": False, "trainer": {"max_steps": given.steps}}
    )
    products = measured(*trained(given.data, settings, given.users))
    results = {
        "machine": machine(),
        "versions": versions(),
        "settings": {
            "steps": given.steps,
            "episodes_in_a_step": given.batch,
            "users": len(products),
            "recipe": settings.model_dump(mode="json"),
        },
        "found": jackknifed(products, found),
        "by_shots": by_shots(products),
    }
    print(json.dumps(results, indent=2))
    if given.json:
        write_json(given.json, results)


if __name__ == "__main__":
    main()
