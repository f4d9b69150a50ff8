"""Collaborative filtering: what users with the same choices preferred, without reading a word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fspo.preferences.logistic import Floats, fit_logistic, log_loss
from fspo.preferences.records import Preference, Preferences, training_rows

_HELD_OUT = 0.2  # the share of choices by which it is found out whether a factor is of use


class ResponseFactors:
    """A bias and a few factors for each response that training users judged.

    User u prefers c to r with log-odds `h = b[c] - b[r] + (v[c] - v[r]).u`: matrix factorization
    (Koren, Bell and Volinsky, 2009, equation 4) with the logistic loss on pairs of BPR (Rendle et
    al., arXiv 1205.2618, section 4.1). `-log sigmoid(h)`, summed, is minimized beside
    `l2 / 2 (|b|^2 + |v|^2 + |u|^2)`; a new user's factors are fitted to the shots, b and v as they
    are. A response that training users never judged adds nothing.

    Attributes:
        responses: those that were judged: (prompt, text).
        biases: float64 (responses,).
        factors: float64 (responses, factors).
    """

    def __init__(
        self,
        training: Preferences,
        generator: np.random.Generator,
        factors: int = 1,
        l2: float = 1.0,
    ) -> None:
        """Fits the responses' biases and factors.

        Args:
            training: other users' preferences.
            generator: where the factors start from.
            factors: how many; 0 for what everybody likes alone.
            l2: strength of the penalty; at 1, a standard normal prior.

        Raises:
            FspoError: if there are no preferences.
        """
        rows = training_rows(training)
        self._l2 = l2
        self._places: dict[tuple[str, str], int] = {}  # by `plain_text`
        self.responses: list[tuple[str, str]] = []
        for p in rows:
            prompt, *texts = p.plain
            for text, spelled in zip(texts, (p.chosen, p.rejected), strict=True):
                if (prompt, text) not in self._places:
                    self._places[prompt, text] = len(self._places)
                    self.responses.append((p.prompt, spelled))
        numbers = {user: number for number, user in enumerate(training.by_user)}
        users = np.array([numbers[user] for user, _ in training])
        start = generator.normal(0, 0.1, (len(self._places) + len(numbers), factors))
        self.biases, self.factors = _fit(self._pairs(rows), users, start, len(self._places), l2)
        # A last row of zeros stands for every response that was not seen.
        self._padded = np.append(self.biases, 0.0), np.pad(self.factors, ((0, 1), (0, 0)))

    def of_user(self, preferences: Sequence[Preference]) -> Floats:
        """A user's factors, (factors,), from some of the user's choices; zeros from none."""
        bias, rows = self._differences(preferences)
        return fit_logistic(rows, self._l2, bias)

    def log_odds(self, user: Floats, targets: Sequence[Preference]) -> Floats:
        """Float64 (targets,) for a user with these factors."""
        bias, rows = self._differences(targets)
        return bias + rows @ user

    def _differences(self, preferences: Sequence[Preference]) -> tuple[Floats, Floats]:
        """Of the biases, (preferences,), and of the factors, (preferences, factors)."""
        chosen, rejected = self._pairs(preferences).T
        biases, factors = self._padded
        return biases[chosen] - biases[rejected], factors[chosen] - factors[rejected]

    def _pairs(self, preferences: Sequence[Preference]) -> NDArray[np.int64]:
        """The places of chosen and rejected, (preferences, 2)."""
        unseen = len(self._places)
        places = [
            [self._places.get((p.plain[0], text), unseen) for text in p.plain[1:]]
            for p in preferences
        ]
        return np.array(places, dtype=np.int64).reshape(-1, 2)


def fit_factors(training: Preferences, generator: np.random.Generator) -> ResponseFactors:
    """A factor, or none where choices are foretold better without.

    A fifth of the choices is held out to find that out: where users agree, and have made few
    choices, what a factor knows of them is chance.

    Args:
        training: users' preferences.
        generator: what is held out, and where the factor starts from.

    Raises:
        FspoError: if there are no preferences.
    """
    [drawn] = generator.spawn(1)  # so that the factor starts from where it would without this
    known: dict[str, list[Preference]] = {}
    held_out: dict[str, list[Preference]] = {}
    for user, rows in training.by_user.items():
        for p, out in zip(rows, drawn.random(len(rows)) < _HELD_OUT, strict=True):
            (held_out if out else known).setdefault(user, []).append(p)
    if not known or not held_out:
        return ResponseFactors(training, generator)

    def loss(factors: int) -> float:
        fitted = ResponseFactors(Preferences(known), drawn, factors)
        log_odds = [
            fitted.log_odds(fitted.of_user(known.get(user, [])), rows)
            for user, rows in held_out.items()
        ]
        return log_loss(np.concatenate(log_odds))

    return ResponseFactors(training, generator, factors=min((1, 0), key=loss))


def _fit(
    pairs: NDArray[np.int64], users: NDArray[np.int64], start: Floats, responses: int, l2: float
) -> tuple[Floats, Floats]:
    """Biases (responses,) and factors (responses, factors); `start` has responses, then users."""
    import torch
    from torch.nn.functional import softplus

    chosen, rejected = torch.from_numpy(pairs).unbind(1)
    who = torch.from_numpy(users) + responses
    biases = torch.zeros(responses, dtype=torch.float64, requires_grad=True)
    factors = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([biases, factors], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        taste = ((factors[chosen] - factors[rejected]) * factors[who]).sum(1)
        losses = softplus(-(biases[chosen] - biases[rejected] + taste)).sum()
        value = losses + l2 / 2 * (biases.square().sum() + factors.square().sum())
        value.backward()
        return value

    optimizer.step(loss)
    return biases.detach().numpy(), factors.detach()[:responses].numpy()
