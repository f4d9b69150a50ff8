"""Ask what matters: which pair to show a user next, by what the model itself expects to learn.

The gain of a pair is the mutual information between the user's answer to it and the user's answers
to a fixed set of other pairs, under the model's own predictions: the expected predictive
information gain of Bickford Smith et al. (arXiv 2304.08151), with the shots in the context where
they have a posterior over parameters. A pair that everybody answers alike gains nothing; nor does
one that everybody answers by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fspo.errors import FspoError
from fspo.methods.method import Floats, Predictor
from fspo.preferences.logistic import entropy
from fspo.preferences.records import Preference, User


def next_pair(
    predictor: Predictor,
    user: User,
    shots: Sequence[Preference],
    candidates: Sequence[Preference],
    targets: Sequence[Preference],
    generator: np.random.Generator,
    shortlist: int = 8,
) -> int:
    """Chooses the pair that is expected to tell most about the targets.

    Only the candidates whose answers are least certain are tried, `shortlist` of them: what an
    answer tells cannot be more than the entropy of the answer itself. That takes two calls of the
    predictor for each, after one for all candidates; for a policy on the chain template a call
    with shots is one tree, so that a choice costs `1 + 2 * shortlist` trees.

    Args:
        predictor: tells what the user prefers.
        user: who is asked.
        shots: what the user has answered already, in order.
        candidates: pairs that can be shown; which of the two is called `chosen` does not matter.
        targets: pairs on which the predictions are to become better; the same is true of them.
        generator: decides between candidates that are equal.
        shortlist: how many candidates are tried at most.

    Returns:
        The index of the chosen candidate.

    Raises:
        FspoError: if there is no candidate or no target.
    """
    if not candidates or not targets:
        missing = "targets" if candidates else "candidates"
        raise FspoError(f"there are no {missing}; give at least one pair to choose what to ask")
    chances = chances_of(predictor, user, shots, candidates)
    shuffled = generator.permutation(len(candidates))
    uncertain = shuffled[np.argsort(-entropy(chances[shuffled]), kind="stable")][:shortlist]
    tried = [candidates[index] for index in uncertain]
    gains = expected_gains(predictor, user, shots, tried, targets, chances[uncertain])
    return int(uncertain[int(np.argmax(gains))])


def expected_gains(
    predictor: Predictor,
    user: User,
    shots: Sequence[Preference],
    candidates: Sequence[Preference],
    targets: Sequence[Preference],
    chances: Floats,
) -> Floats:
    """Returns what an answer to each candidate tells about an answer to a target, on average.

    With `p` the chance of an outcome `o` of the candidate, and `q_o` that of a target's after it,

        I = H(sum_o p_o q_o) - sum_o p_o H(q_o)

    (arXiv 2304.08151, for two outcomes). For a predictor that is consistent with
    itself, `sum_o p_o q_o` is what it predicts without the answer, and I the expected fall of the
    entropy. A language model is not, and merely grows surer with every shot; written like this, I
    is 0 where the outcome changes nothing, and never negative.

    Args:
        predictor: as in `next_pair`; so are the user, the shots, the candidates and the targets.
        user: who is asked.
        shots: what the user has answered already.
        candidates: pairs that can be shown.
        targets: pairs that are predicted.
        chances: float64 (candidates,), of `chosen`; as `chances_of` gives them.

    Returns:
        Float64 (candidates,), in nats, from 0 to ln 2.
    """
    gains = []
    for candidate, chance in zip(candidates, chances, strict=True):
        flipped = replace(candidate, chosen=candidate.rejected, rejected=candidate.chosen)
        after = np.array(
            [
                chances_of(predictor, user, [*shots, outcome], targets)
                for outcome in (candidate, flipped)
            ]
        )
        weights = np.array([chance, 1 - chance])
        gains.append(np.mean(entropy(weights @ after) - weights @ entropy(after)))
    return np.array(gains)


def chances_of(
    predictor: Predictor, user: User, shots: Sequence[Preference], pairs: Sequence[Preference]
) -> Floats:
    """The probability that the user prefers each pair's `chosen`, after all of the shots.

    Returns:
        Float64 (pairs,).
    """
    (odds,) = predictor.log_odds(user, shots, pairs, [len(shots)])
    chances: Floats = 0.5 * (1 + np.tanh(odds / 2))  # the logistic function, without overflow
    return chances
