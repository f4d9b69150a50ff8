"""Measures of an answer, by name, so that a domain can label without a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from statistics import fmean

from fspo.domains.reviews.measures import measure as _measure_review
from fspo.domains.reviews.measures import sentences

_CASUAL = re.compile(r"!|\w['’](s|m|re|ve|ll|d|t)\b|\b(yeah|wow|hey|guys|gonna|kinda|cool)\b", re.I)


def words(text: str) -> float:
    """The number of words."""
    return float(len(text.split()))


def sentiment(text: str) -> float:
    """The mean of VADER's compound score over the sentences, from -1 to 1."""
    return float(_measure_review(text)["sentiment"])


@lru_cache(maxsize=1 << 16)
def grade(text: str) -> float:
    """The school grade that reading it takes: Flesch and Kincaid 1975, by textstat; from 0 to 20.

    Raises:
        ImportError: if textstat, of the extra `fspo[synthesis]`, is not installed.
    """
    import textstat

    return min(20.0, max(0.0, float(textstat.flesch_kincaid_grade(text))))


@lru_cache(maxsize=1 << 16)
def casual(text: str) -> float:
    """The share of sentences with a contraction, an exclamation mark or a word of talk."""
    return fmean([bool(_CASUAL.search(s)) for s in sentences(text)] or [0.0])


MEASURES: dict[str, Callable[[str], float]] = {
    "words": words,
    "sentiment": sentiment,
    "grade": grade,
    "casual": casual,
}
