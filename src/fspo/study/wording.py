"""The words of the pages' buttons and notes: in the language of the page, if we have it.

`words/` holds a file for each language that we have; a study's own `words` stand over them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from fspo.yaml_files import read_yaml

WORDS = Path(__file__).parent / "words"


@cache
def _ours(language: str) -> dict[str, str]:
    """The words in a language, by its code without a region; none if we do not have it."""
    path = WORDS / f"{language}.yaml"
    return cast(dict[str, str], read_yaml(path)) if path.is_file() else {}


def languages() -> list[str]:
    """The languages whose words we have."""
    return sorted(path.stem for path in WORDS.glob("*.yaml"))


def check_words(words: Mapping[str, str]) -> None:
    """Makes sure that there are such words.

    Raises:
        ValueError: naming the one that is unknown, and the nearest that is known.
    """
    english = _ours("en")
    for word in words:
        if word not in english:
            near = difflib.get_close_matches(word, english, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(english)}"
            raise ValueError(f"unknown word {word!r}; {hint}")


def words_in(code: str, words: Mapping[str, str]) -> dict[str, str]:
    """English, with the language's words over it, and what the study says over both.

    Args:
        code: of the language: "de", "de-AT".
        words: the study's own.
    """
    return _ours("en") | _ours(code.partition("-")[0]) | dict(words)


def still_english(code: str, words: Mapping[str, str]) -> list[str]:
    """The words that a page in a language shows in English, for want of others."""
    language = code.partition("-")[0]
    return (
        []
        if language == "en"
        else sorted(_ours("en").keys() - _ours(language).keys() - words.keys())
    )
