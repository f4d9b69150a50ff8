"""What users care about in a review: its sentiment and its length.

Sentiment is VADER's compound score, from -1 to 1; it saturates on long reviews. Length counts on a
logarithmic scale, so that 10 words against 20 differ as much as 30 against 60.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import log
from typing import Any

SHORT = 10  # words in a review that could not be more concise
LONG = 25  # words in a long review, as the personas write them


@lru_cache(maxsize=1 << 16)
def _sentiment(text: str) -> float:
    return float(_analyzer().polarity_scores(text)["compound"])


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def measure(text: str) -> dict[str, float]:
    """The sentiment of a review, from -1 to 1, and its number of words."""
    return {"sentiment": _sentiment(text), "words": len(text.split())}


def verbosity(words: float) -> float:
    """From -1 for `SHORT` words or fewer to 1 for `LONG` or more, even steps for even ratios."""
    share = log(max(words, 1) / SHORT) / log(LONG / SHORT)
    return min(1.0, max(-1.0, 2 * share - 1))


def utility(attributes: Mapping[str, Any], text: str) -> float:
    """How well a user likes a review: `sentiment` and `verbosity` say what it is worth to them."""
    found = measure(text)
    return float(
        attributes["sentiment"] * found["sentiment"]
        + attributes["verbosity"] * verbosity(found["words"])
    )
