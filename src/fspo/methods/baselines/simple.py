"""Simple predictors of preferences, which a language model has to beat.

Each has a `name` and gives `log_odds(shots, targets, user)`: float64 (targets,), the log-odds in
nats that the user prefers `chosen` to `rejected`; above 0 is right, and 0 where nothing is known.
All are fitted on other users' preferences (FspoError where there are none), and none looks at more
of the user than the shots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from fspo.domains.measures import words
from fspo.llm.embedding import Embedder
from fspo.methods.baselines.vectors import (
    Floats,
    Sample,
    cached,
    draw_samples,
    hold_out,
    responses,
)
from fspo.preferences.logistic import fit_logistic, log_loss
from fspo.preferences.records import Preference, Preferences, User, training_rows

PRIOR_VOTES = (2.0, 8.0, 32.0, 128.0)  # beside a pair's own
SHARPNESS = (1.0, 3.0, 10.0, 30.0)  # of similarities
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of the L2 penalty


class Majority:
    """Predicts what training users preferred, whoever asks.

    A response's log-odds are `log (won + 1) / (lost + 1)`, its choices with a Beta(1, 1) prior; a
    pair's are the difference of the two. Where training users judged that very pair, their votes
    join `weight` prior votes that are split as the two responses' p says: the odds are
    `(won + weight p) / (lost + weight (1 - p))`. Training users, each choice foretold from all the
    others, decide the weight.
    """

    name = "majority"

    def __init__(self, training: Preferences) -> None:
        self._won: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()
        self._votes: Counter[tuple[str, str, str]] = Counter()
        rows = training_rows(training)
        for p in rows:
            self._won[p.prompt, p.chosen] += 1
            self._lost[p.prompt, p.rejected] += 1
            self._votes[p.prompt, p.chosen, p.rejected] += 1
        self._weight = min(
            PRIOR_VOTES,
            key=lambda weight: log_loss(np.array([self._of_pair(p, weight, 1) for p in rows])),
        )

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); the shots change nothing."""
        return np.array([self._of_pair(p, self._weight) for p in targets], dtype=np.float64)

    def _of_pair(self, p: Preference, weight: float, own: int = 0) -> float:
        """`own` is 1 where p is among what was counted, and its own vote is to be left out."""
        chosen = np.log(self._won[p.prompt, p.chosen] - own + 1)
        chosen -= np.log(self._lost[p.prompt, p.chosen] + 1)
        rejected = np.log(self._won[p.prompt, p.rejected] + 1)
        rejected -= np.log(self._lost[p.prompt, p.rejected] - own + 1)
        prior = chosen - rejected
        won = self._votes[p.prompt, p.chosen, p.rejected] - own + weight / (1 + np.exp(-prior))
        lost = self._votes[p.prompt, p.rejected, p.chosen] + weight / (1 + np.exp(prior))
        return float(np.log(won) - np.log(lost))


class Longer:
    """The longer response wins: log-odds in proportion to the difference in log words."""

    name = "longer"

    def __init__(self, training: Preferences) -> None:
        rows = _longer_by(training_rows(training))
        self._slope = float(fit_logistic(rows[:, None], l2=1.0)[0])

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); the shots change nothing."""
        return self._slope * _longer_by(targets)


def _longer_by(preferences: Sequence[Preference]) -> Floats:
    """Returns by how much longer chosen is than rejected, in the log of words; (preferences,)."""
    lengths = [(max(1.0, words(p.chosen)), max(1.0, words(p.rejected))) for p in preferences]
    logs = np.log(np.array(lengths, float).reshape(-1, 2))
    return np.asarray(logs[:, 0] - logs[:, 1])


class Nearest:
    """Responses that are like what the user chose before, and unlike what the user rejected.

    A response's score is the mean of the shots' responses, +1 for chosen and -1 for rejected, each
    weighted by `exp(sharpness * cosine)` (Nadaraya and Watson's kernel regression, 1964). The
    log-odds are in proportion to the difference in score. Training users decide the sharpness and
    the proportion.
    """

    name = "nearest neighbors"

    def __init__(
        self, training: Preferences, embedder: Embedder, generator: np.random.Generator
    ) -> None:
        self._embed = cached(embedder)
        self._embed(responses(training_rows(training)))
        samples = draw_samples(training, generator)
        fits = []
        for sharpness in SHARPNESS:
            rows = np.concatenate([self._votes(s.shots, s.targets, sharpness) for s in samples])
            scale = float(fit_logistic(rows[:, None], l2=1.0)[0])
            fits.append((log_loss(scale * rows), sharpness, scale))
        _, self._sharpness, self._scale = min(fits)

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); zeros without shots."""
        return self._scale * self._votes(shots, targets, self._sharpness)

    def _votes(
        self, shots: Sequence[Preference], targets: Sequence[Preference], sharpness: float
    ) -> Floats:
        if not shots or not targets:
            return np.zeros(len(targets))
        seen = self._embed([p.chosen for p in shots] + [p.rejected for p in shots])
        labels = np.repeat([1.0, -1.0], len(shots))
        texts = responses(targets)
        weights = np.exp(sharpness * (self._embed(texts) @ seen.T).astype(np.float64))
        score = dict(zip(texts, weights @ labels / weights.sum(axis=1), strict=True))
        return np.array([score[p.chosen] - score[p.rejected] for p in targets])


class EmbeddingLogistic:
    """A logistic model on the difference of two responses' embeddings, fitted to the shots.

    The weights are those of the population (zeros without) plus a shift that is fitted to the
    shots with an L2 penalty. How strong the two penalties are is decided on training users: a tenth
    of them, on prompts that are kept apart with them, choose among weights fitted to the others;
    then the population's weights are fitted to all. Fewer than ten training users cannot say how
    far to believe them, and the population's penalty is the strongest.
    """

    def __init__(
        self,
        training: Preferences,
        embedder: Embedder,
        generator: np.random.Generator,
        population: bool,
    ) -> None:
        """`population` says whether the shots shift weights that training users share."""
        self.name = "logistic, population and shots" if population else "logistic on the shots"
        self._embed = cached(embedder)
        self._embed(responses(training_rows(training)))
        self._weights = np.zeros(self._embed([]).shape[1])
        if not population:
            self._strength = self._best_strength(draw_samples(training, generator))
            return
        known, samples = hold_out(training, generator)
        rows = self._differences(training_rows(known))
        unseen = self._differences(p for s in samples for p in s.targets)
        fits = {strength: fit_logistic(rows, strength) for strength in STRENGTHS}
        strength = max(STRENGTHS)
        if samples:
            strength = min(STRENGTHS, key=lambda strength: log_loss(unseen @ fits[strength]))
        samples = samples or draw_samples(training, generator)
        self._weights = fits[strength]
        self._strength = self._best_strength(samples)
        self._weights = fit_logistic(self._differences(training_rows(training)), strength)

    def log_odds(
        self, shots: Sequence[Preference], targets: Sequence[Preference], user: User
    ) -> Floats:
        """Float64 (targets,); the population's without shots, or zeros."""
        return self._predict(shots, targets, self._strength)

    def _predict(
        self, shots: Sequence[Preference], targets: Sequence[Preference], strength: float
    ) -> Floats:
        rows = self._differences(shots)
        weights = self._weights + fit_logistic(rows, strength, rows @ self._weights)
        return self._differences(targets) @ weights

    def _best_strength(self, samples: Sequence[Sample]) -> float:
        def loss(strength: float) -> float:
            return log_loss(
                np.concatenate([self._predict(s.shots, s.targets, strength) for s in samples])
            )

        return min(STRENGTHS, key=loss)

    def _differences(self, preferences: Iterable[Preference]) -> Floats:
        """Float64 (preferences, width), chosen minus rejected."""
        rows = list(preferences)
        chosen, rejected = self._embed([p.chosen for p in rows]), [p.rejected for p in rows]
        return chosen.astype(np.float64) - self._embed(rejected)
