"""Measures of a review that users care about: its sentiment and its length, each by itself.

Sentiment is VADER's compound score of each sentence, averaged, as its authors advise for texts of
more than one: over a whole text the score grows with length, so that a long review would pass for
the kinder one. Length counts on a logarithmic scale, so that 10 words against 20 differ as much as
30 against 60.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import log
from statistics import fmean
from typing import Any

CLEAR = 0.5  # the mean compound score of a review that could not be clearer in its praise
SHORT = 10  # words in a review that could not be more concise
LONG = 25  # words in a long review, as the personas write them

_SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")
_WORD = re.compile(r"\w")


def sentences(text: str) -> list[str]:
    """A text's sentences, each with its full stop if it has one; what holds no word is none."""
    return [found for found in _SENTENCE.findall(text) if _WORD.search(found)]


@lru_cache(maxsize=1 << 16)
def _sentiment(text: str) -> float:
    scores = (_analyzer().polarity_scores(s)["compound"] for s in sentences(text))
    return fmean([*scores] or [0.0])


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def measure(text: str) -> dict[str, float]:
    """The sentiment of a review's sentences, from -1 to 1, and its number of words."""
    return {"sentiment": _sentiment(text), "words": len(text.split())}


def praise(sentiment: float) -> float:
    """From -1 for clear criticism, `-CLEAR` or less, to 1 for clear praise, `CLEAR` or more."""
    return min(1.0, max(-1.0, sentiment / CLEAR))


def verbosity(words: float) -> float:
    """From -1 for `SHORT` words or fewer to 1 for `LONG` or more, even steps for even ratios."""
    share = log(max(words, 1) / SHORT) / log(LONG / SHORT)
    return min(1.0, max(-1.0, 2 * share - 1))


def utility(attributes: Mapping[str, Any], text: str) -> float:
    """Returns how well a user likes a review, who cares for its sentiment and its length."""
    found = measure(text)
    return float(
        attributes["sentiment"] * praise(found["sentiment"])
        + attributes["verbosity"] * verbosity(found["words"])
    )
