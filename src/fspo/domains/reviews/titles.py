"""The titles that are reviewed: real and well known, a text file for each category.

A title is written with what it is, as it stands in the question: "the movie Titanic (1997)".
"""

from pathlib import Path

from fspo.text_files import read_lines

_CATEGORIES = {
    "movies": "the movie",
    "tv_shows": "the TV show",
    "anime": "the anime",
    "books": "the book",
}


def titles() -> dict[str, list[str]]:
    """The titles of each category, in the order of its file."""
    folder = Path(__file__).parent
    return {
        category: [f"{article} {line}" for line in read_lines(folder / f"{category}.txt")]
        for category, article in _CATEGORIES.items()
    }


def prompt(title: str) -> str:
    """The question that users see."""
    return f"Write a review of {title}."
