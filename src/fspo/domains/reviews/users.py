"""The users: how much they want praise or criticism, and long or short reviews.

Trained kinds stand in the four corners of sentiment and verbosity, each user a little off the
corner; interpolated kinds stand on the sides between them. Users come in fours whose tastes are
each other's mirror images, so that in a split everybody has an opposite.
"""

from __future__ import annotations

import numpy as np

from fspo.errors import FspoError
from fspo.preferences.records import User

# Users come in fours of the same strengths; opposites stand side by side.
_SIGNS = ((1, 1), (-1, -1), (1, -1), (-1, 1))
_AXES = ((1, 0), (-1, 0), (0, 1), (0, -1))

_SENTIMENT = {
    1: "full of praise and enthusiasm, and never critical",
    -1: "negative and harsh: they complain about what is bad, and never praise",
}
_LENGTH = {
    1: "long: a full paragraph of many sentences with details",
    -1: "short: one brief sentence of about ten words",
}


def users(
    split: str, trained: int, interpolated: int, generator: np.random.Generator
) -> list[User]:
    """A balanced population.

    Args:
        split: what the users are for; part of their names.
        trained: how many users of the four trained kinds; a multiple of four.
        interpolated: how many users between these kinds; a multiple of four.
        generator: draws how far off the corner each four stands.

    Raises:
        FspoError: if a number is not a multiple of four.
    """
    if trained % 4 or interpolated % 4:
        raise FspoError(
            f"{trained} trained and {interpolated} interpolated {split} users: "
            "give multiples of 4, so that every kind of user has its opposites."
        )
    tastes = [taste for _ in range(trained // 4) for taste in _corners(generator)]
    tastes += [taste for k in range(interpolated // 4) for taste in _between(k, generator)]
    return [
        User(
            f"{split}-{number:03d}",
            describe(sentiment, verbosity),
            {
                "sentiment": sentiment,
                "verbosity": verbosity,
                "kind": _kind(sentiment, verbosity) if number < trained else "interpolated",
            },
            split,
        )
        for number, (sentiment, verbosity) in enumerate(tastes)
    ]


def knows(user: User) -> bool:
    """Returns whether a user's attributes are of this domain."""
    return {"sentiment", "verbosity"} <= user.attributes.keys()


def describe(sentiment: float, verbosity: float) -> str:
    """A user in words that a writer can act on."""
    likes = [
        _strength(value) + words[1 if value > 0 else -1]
        for value, words in ((sentiment, _SENTIMENT), (verbosity, _LENGTH))
        if value
    ]
    text = f"This person likes reviews that are {'; and '.join(likes)}."
    if not sentiment:
        text += " Whether a review is positive or negative does not matter to this person."
    if not verbosity:
        text += " How long a review is does not matter to this person."
    return text


def _corners(generator: np.random.Generator) -> list[tuple[float, float]]:
    return _mirrored(*_strong(generator, 2))


def _between(turn: int, generator: np.random.Generator) -> list[tuple[float, float]]:
    """In turn: one taste only; a weak taste in length; a weak taste in sentiment."""
    strong = _strong(generator, 1)[0]
    weak = round(float(generator.uniform(0.3, 0.5)), 3)
    if turn % 3 == 0:
        return [(a * strong + 0.0, b * strong + 0.0) for a, b in _AXES]  # never -0.0
    return _mirrored(strong, weak) if turn % 3 == 1 else _mirrored(weak, strong)


def _mirrored(sentiment: float, verbosity: float) -> list[tuple[float, float]]:
    return [(a * sentiment, b * verbosity) for a, b in _SIGNS]


def _strong(generator: np.random.Generator, count: int) -> list[float]:
    return [round(float(value), 3) for value in generator.uniform(0.8, 1.0, count)]


def _strength(value: float) -> str:
    return "" if abs(value) > 0.6 else "preferably, though this matters less, "


def _kind(sentiment: float, verbosity: float) -> str:
    first = "positive" if sentiment > 0 else "negative"
    return f"{first}, {'verbose' if verbosity > 0 else 'concise'}"
