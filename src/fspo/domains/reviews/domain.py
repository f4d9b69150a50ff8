"""What users care about in a review: praise and length, each from -1 to 1.

Praise is the mean sentiment of the sentences. Length counts on a logarithmic scale, so that 10
words against 20 differ as much as 30 against 60.
"""

from math import log

from fspo.domains.measures import sentiment

CLEAR = 0.5  # the mean sentiment of a review that could not be clearer in its praise
SHORT = 10  # words in a review that could not be more concise
LONG = 25  # words in a long review, as the embedded model writes them


def praise(text: str) -> float:
    """From -1 for clear criticism to 1 for clear praise."""
    return min(1.0, max(-1.0, sentiment(text) / CLEAR))


def verbosity(text: str) -> float:
    """From -1 for `SHORT` words or fewer to 1 for `LONG` or more, even steps for even ratios."""
    share = log(max(len(text.split()), 1) / SHORT) / log(LONG / SHORT)
    return min(1.0, max(-1.0, 2 * share - 1))
