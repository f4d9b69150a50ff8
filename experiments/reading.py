"""What a policy has learned of real people: what everybody likes, and what a person's shots say.

    python experiments/reading.py polis DATA --policy runs/polis/policy --json FILE

Asked are training people, about pairs that they were not asked about, with choices as the factors
of all training people draw them (`preferences/imputing.py`). The factors' log-odds of a choice, to
somebody who knows the shots before it, have two parts: the common one, which they have without
shots, and the personal one, which the shots add. The policy's implicit reward `beta h` is fitted to
both, by least squares over the pairs after so many shots:

    beta h = a common + b personal + rest

`a` and `b` are 1 for a policy that says what the factors say; a policy that reads nobody has a `b`
of 0. Intervals are by bootstrap over people.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from people_splits import SHOTS, STUDIES, read

from fspo.console import say, track
from fspo.evaluation.evaluate import versions
from fspo.files import write_json
from fspo.learning.policy import load_policy
from fspo.learning.tree import EpisodeTree
from fspo.preferences.imputing import Imputed
from fspo.preferences.logistic import sigmoid
from fspo.preferences.records import Preferences

Floats = NDArray[np.float64]
GROUPS = {"0": (0,), "1 to 3": (1, 2, 3), "4 to 8": tuple(range(4, SHOTS + 1))}
DRAWS = 1000


class Asked(NamedTuple):
    """Pairs of several people after 0, 1, ... shots; float64 (people, shots + 1) each.

    Attributes:
        common: log-odds of the choice without shots.
        personal: what the shots add.
        reward: the policy's, `beta h`.
    """

    common: Floats
    personal: Floats
    reward: Floats

    def after(self, counts: tuple[int, ...]) -> Asked:
        """The pairs that come after these numbers of shots."""
        return Asked(*(part[:, list(counts)] for part in self))

    def of(self, people: NDArray[np.int64]) -> Asked:
        """These people's, in order."""
        return Asked(*(part[people] for part in self))


def shares(asked: Asked) -> Floats:
    """`a` and `b`, (2,); where nothing is personal there is no `b`, and 0 stands for it."""
    parts = np.stack([asked.common.ravel(), asked.personal.ravel()], axis=1)
    fitted, *_ = np.linalg.lstsq(parts, asked.reward.ravel(), rcond=None)
    return np.asarray(fitted, np.float64)


def excess(asked: Asked) -> float:
    """By how many nats the policy foretells a choice worse than the factors, in the mean.

    The Kullback-Leibler divergence of the policy's probabilities from the factors'.
    """
    truth, said = asked.common + asked.personal, asked.reward
    likely = sigmoid(truth)
    return float(
        np.mean(
            likely * (np.logaddexp(0, -said) - np.logaddexp(0, -truth))
            + (1 - likely) * (np.logaddexp(0, said) - np.logaddexp(0, truth))
        )
    )


def summed_up(asked: Asked, generator: np.random.Generator) -> dict[str, Any]:
    """The shares with intervals, what they leave, and the excess."""
    people = len(asked.reward)
    drawn = [shares(asked.of(generator.integers(people, size=people))) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    common, personal = shares(asked)
    rest = asked.reward - common * asked.common - personal * asked.personal
    return {
        "common": {"share": round(common, 3), "ci95": [round(low[0], 3), round(high[0], 3)]},
        "personal": {"share": round(personal, 3), "ci95": [round(low[1], 3), round(high[1], 3)]},
        "rest": round(float(np.sqrt(np.mean(rest**2))), 3),
        "excess": round(excess(asked), 4),
    }


def ask(train: Preferences, folder: Path, people: int) -> Asked:
    """Asks a policy (chain template) about training people with choices for all the shots."""
    imputed = Imputed(train, np.random.default_rng(0))
    nobody = imputed.fitted.of_user([])
    policy = load_policy(folder)
    order = np.random.default_rng(0).permutation(list(train.by_user))
    drawn = [imputed.draw(str(user), SHOTS + 1, [1, n]) for n, user in enumerate(order)]
    whole = [episode for episode in drawn if len(episode.preferences) == SHOTS + 1][:people]
    common = np.stack([imputed.fitted.log_odds(nobody, episode.preferences) for episode in whole])
    likely = np.array([episode.likely for episode in whole])
    rewards = []
    for episode in track(whole, "people", len(whole)):
        tree = EpisodeTree.from_episode(episode, policy.tokenizer)
        [margins] = policy.margins([tree])
        rewards.append(policy.beta * (margins[0::2] - margins[1::2]).double().numpy())
    return Asked(common, np.log(likely / (1 - likely)) - common, np.stack(rewards))


def main() -> None:
    """Asks, prints and keeps the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    train = STUDIES[given.study](read(given.data), np.random.default_rng(0)).train
    asked = ask(train, given.policy, given.people)
    say(f"{len(asked.reward)} people, {asked.reward.size} pairs")
    results = {
        "study": given.study,
        "people": len(asked.reward),
        "after": {
            name: summed_up(asked.after(counts), np.random.default_rng(0))
            for name, counts in GROUPS.items()
        },
        "versions": versions(),
    }
    if given.json:
        write_json(given.json, results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
