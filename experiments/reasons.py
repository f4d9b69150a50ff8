"""People described by their own reasons: a dataset for RAT, of real choices between arguments.

    python experiments/reasons.py DATA --out described
    fspo train rat-reasons --data described --out rat
    fspo evaluate --data described --policy rat --baseline longer --out results

DATA has, beside each choice, why it was made (`reason`) and which two arguments it was between
(`pair_id`). A description is a few of a person's reasons: those nearest in meaning to all of them,
one after the other, each unlike those before. Reasons of choices that are to be predicted are among
them, so test users' descriptions serve to compare with, and the oracle says nothing here.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from people_splits import read

from fspo.llm.embedding import Embedder, MiniLM
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.writing import save_preferences

LEAST = 12  # choices of a person who is taken in
REASONS = 3  # in a description
ALIKE = 0.75  # a cosine above which two reasons say the same
OPENING = "Chooses an argument for reasons such as these: "
NAMED = re.compile(r"\b(?:argument\s+a?|a)([12])\b", re.IGNORECASE)


def main() -> None:
    """Writes the dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=96, help="to learn from")
    parser.add_argument("--new", type=int, default=24, help="people to test on")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = read(given.data)
    for user, p in rows:
        if not {"reason", "pair_id"} <= p.extra.keys():
            parser.error(f"{p.row}: user {user!r}: no columns reason and pair_id")
    made = described(rows, given.people, given.new, given.seed, MiniLM())
    save_preferences(made, given.out, "Choices between arguments; people in their own words.")


def described(rows: Preferences, people: int, new: int, seed: int, embed: Embedder) -> Preferences:
    """Some people with their choices, each described by reasons.

    Args:
        rows: with `reason` and `pair_id` in `extra`.
        people: how many to learn from, split `train`.
        new: how many more, split `test`.
        seed: of the draw of people.
        embed: tells which reasons are near to one another.
    """
    texts = arguments_by_id(rows)
    enough = sorted(user for user, own in rows.by_user.items() if len(own) >= LEAST)
    order = np.random.default_rng(seed).permutation(len(enough))[: people + new]
    users = []
    for place, index in enumerate(order):
        name = enough[index]
        reasons = [in_words(p, texts) for p in rows.by_user[name] if p.extra["reason"].strip()]
        said = "; ".join(reasons[chosen] for chosen in telling(embed(reasons)))
        split = "train" if place < people else "test"
        users.append(User(name, OPENING + said, split=split))
    return Preferences({user.user_id: rows.by_user[user.user_id] for user in users}, users)


def arguments_by_id(rows: Preferences) -> dict[tuple[str, str], str]:
    """(prompt, id) -> the argument: the one text that all pairs with that id have in common."""
    common: dict[tuple[str, str], set[str]] = {}
    for _, p in rows:
        for name in p.extra["pair_id"].split("_"):
            key = (p.prompt, name)
            common[key] = common.get(key, {p.chosen, p.rejected}) & {p.chosen, p.rejected}
    return {key: texts.pop() for key, texts in common.items() if len(texts) == 1}


def in_words(preference: Preference, texts: dict[tuple[str, str], str]) -> str:
    """The reason with "the better one" and "the other one" for A1 and A2, where they are known."""
    names = preference.extra["pair_id"].split("_")

    def said(match: re.Match[str]) -> str:
        text = texts.get((preference.prompt, names[int(match[1]) - 1]))
        if text not in (preference.chosen, preference.rejected):
            return match[0]
        return "the better one" if text == preference.chosen else "the other one"

    return NAMED.sub(said, " ".join(preference.extra["reason"].split())).rstrip(".")


def telling(vectors: np.ndarray, count: int = REASONS) -> list[int]:
    """The places of the vectors nearest to the mean of all, each unlike those before.

    Args:
        vectors: float (reasons, width), of length 1.
        count: how many at most.
    """
    nearest = np.argsort(-(vectors @ vectors.mean(axis=0)), kind="stable")
    kept: list[int] = []
    for place in nearest:
        if all(vectors[place] @ vectors[other] < ALIKE for other in kept):
            kept.append(int(place))
    return kept[:count]


if __name__ == "__main__":
    main()
