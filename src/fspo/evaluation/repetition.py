"""Measures how far an answer repeats itself, which no measure of style minds."""

from __future__ import annotations

_RUN = 3  # words


def repetition(text: str) -> float:
    """The share of an answer's runs of three words that stood in it before, from 0 to 1.

    This is seq-rep-n of Welleck et al. 2020 ("Neural text generation with unlikelihood training",
    section 6), with n of 3: `1 - distinct runs / runs`. Case does not count; an answer of fewer
    than three words has 0.
    """
    words = text.casefold().split()
    runs = list(zip(*(words[start:] for start in range(_RUN)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
