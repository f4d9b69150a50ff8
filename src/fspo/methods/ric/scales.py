"""Scales of 0 to 10 for measures of an answer: the rewards that RiC writes in the context.

The released code of RiC takes z-scores, rounded to a tenth. Here a scale is by quantiles: each of
the eleven numbers stands for as many training answers as any other, so that a long tail (numbers of
words have one) leaves no number untrained, and a number is a token or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from fspo.domains.measures import MEASURES
from fspo.errors import FspoError
from fspo.files import write_json
from fspo.preferences.records import Preference

TOP = 10

Levels = tuple[int, ...]  # one for each measure, from 0 to TOP


@dataclass(frozen=True)
class Scale:
    """One measure's scale.

    Attributes:
        edges: the measure's quantiles at 1/11, 2/11, ..., 10/11 of the training answers, rising; an
            answer's level is how many of them it reaches.
        mean: the mean level of the training answers: 5, unless many of them measure the same.
    """

    edges: list[float]
    mean: float

    def level(self, value: float) -> int:
        """From 0, as the least of the training answers, to 10, as the greatest."""
        return int(np.searchsorted(self.edges, value, side="right"))


class Scales:
    """The scales of several measures, in their order."""

    def __init__(self, by_measure: Mapping[str, Scale]) -> None:
        self.by_measure = dict(by_measure)

    @classmethod
    def fit(cls, answers: Sequence[str], measures: Sequence[str]) -> Scales:
        """Fits a scale for each measure to the training answers, at least one.

        Raises:
            FspoError: if there is no such measure, or its package is not installed.
        """
        return cls({name: _fit([_measure(name, text) for text in answers]) for name in measures})

    @classmethod
    def load(cls, path: Path) -> Scales:
        """Reads what `save` wrote.

        Raises:
            FspoError: if the file is not there, or is something else.
        """
        import json

        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            scales = {name: Scale(**fields) for name, fields in saved.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise FspoError(
                f"{path}: these are not the scales that `fspo train` writes: {error}"
            ) from error
        return cls(scales)

    def save(self, path: Path) -> None:
        """Writes the scales as JSON: measure -> `edges` and `mean`."""
        write_json(path, {name: vars(scale) for name, scale in self.by_measure.items()})

    def levels(self, answer: str) -> Levels:
        """An answer's level on every scale."""
        return tuple(scale.level(_measure(name, answer)) for name, scale in self.by_measure.items())

    def desired(self, shots: Sequence[Preference]) -> Levels:
        """The levels that a user is taken to want.

        The training mean, plus the mean over the shots of the chosen answer's level less the
        rejected one's, rounded and kept within the scale: without shots the training mean, and
        where a user does not choose by a measure, near to it. (On the demo's data, the pair's
        answer that is nearer to these levels was the preferred one in 94% after one shot and 99%
        after eight; nearer to the mean of the chosen answers alone, in 91% and 97.5%.)
        """
        mean = np.array([scale.mean for scale in self.by_measure.values()])
        gaps = [np.subtract(self.levels(shot.chosen), self.levels(shot.rejected)) for shot in shots]
        wanted = mean + np.mean(gaps, axis=0) if gaps else mean
        return tuple(int(level) for level in np.rint(wanted.clip(0, TOP)))


def _fit(values: Sequence[float]) -> Scale:
    edges = np.quantile(values, np.arange(1, TOP + 1) / (TOP + 1)).tolist()
    mean = float(np.mean([Scale(edges, 0.0).level(value) for value in values]))
    return Scale(edges, mean)


def _measure(name: str, text: str) -> float:
    if name not in MEASURES:
        (nearest,) = get_close_matches(name, MEASURES, n=1, cutoff=0.0)
        raise FspoError(
            f"measures: there is no {name!r}; did you mean {nearest!r}? "
            f"There are {', '.join(MEASURES)}."
        )
    try:
        return MEASURES[name](text)
    except ImportError as error:
        raise FspoError(
            f"measures: {name!r}: {error}. Install it with `pip install 'fspo[synthesis]'`."
        ) from error
