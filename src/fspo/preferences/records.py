"""Preferences and users: the records that every other room works with."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fspo.errors import FspoError, excerpt

# White space that has no width, which str.split passes over.
_NO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF))


def plain_text(text: str) -> str:
    """Returns what two texts have in common that are the same to a reader.

    That is all but white space at the ends, how much of it there is in between, and whether an
    accented letter is one character or two (Unicode's NFC and NFD).
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_NO_WIDTH))
    return " ".join(text.split())


@dataclass(frozen=True)
class Preference:
    """One choice of one user: to `prompt`, the answer `chosen` was liked better than `rejected`.

    Attributes:
        prompt: what was asked; may be empty.
        chosen: the answer that the user prefers.
        rejected: the other answer.
        row: where it was read (file and row), for error messages; not part of its identity.
        extra: any further columns, kept as they are.
    """

    prompt: str
    chosen: str
    rejected: str
    row: str = field(default="", compare=False, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def plain(self) -> tuple[str, str, str]:
        """Prompt, chosen and rejected as they are compared with others': see `plain_text`."""
        return plain_text(self.prompt), plain_text(self.chosen), plain_text(self.rejected)

    @cached_property
    def plain_pair(self) -> frozenset[str]:
        """The two responses as they are compared with others', whichever was chosen."""
        return frozenset(self.plain[1:])

    def reversed(self) -> Preference:
        """Returns what somebody who chose the other way would prefer."""
        return Preference(self.prompt, self.rejected, self.chosen)


@dataclass(frozen=True)
class Episode:
    """Some preferences of one user in order: the shots, then what is to be predicted (last).

    Attributes:
        user_id: whose.
        preferences: in order.
        likely: of each preference, how likely the user chooses so, given those before it; empty
            where all that is known is what the user chose.
    """

    user_id: str
    preferences: Sequence[Preference]
    likely: Sequence[float] = ()


@dataclass(frozen=True)
class User:
    """Somebody with preferences.

    Attributes:
        user_id: the name that preferences refer to.
        description: who the user is, in words; hidden from every method but the oracle.
        attributes: what was measured or set about the user, for judges and groups.
        split: "train", "validation" or "test"; "" where users are not split.
    """

    user_id: str
    description: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""


class Preferences:
    """A preference dataset: each user's preferences in order, and what is known of the users.

    Iterating gives `(user_id, Preference)` row by row; `by_user[user_id]` is one user's list.
    """

    def __init__(
        self,
        by_user: Mapping[str, Sequence[Preference]],
        users: Iterable[User] = (),
        source: str = "",
    ) -> None:
        self.by_user: dict[str, list[Preference]] = {u: list(p) for u, p in by_user.items()}
        known = {user.user_id: user for user in users}
        self.users: dict[str, User] = {u: known.get(u, User(u)) for u in self.by_user}
        self.source = source

    def __len__(self) -> int:
        return sum(len(preferences) for preferences in self.by_user.values())

    def __iter__(self) -> Iterator[tuple[str, Preference]]:
        for user_id, preferences in self.by_user.items():
            for preference in preferences:
                yield user_id, preference

    def of(self, split: str) -> Preferences:
        """The preferences of the users of one split."""
        kept = [user for user in self.users.values() if user.split == split]
        return Preferences({u.user_id: self.by_user[u.user_id] for u in kept}, kept, self.source)

    def episode(self, user_id: str, shots: int = 8, seed: int | Sequence[int] = 0) -> Episode:
        """Draws `shots` + 1 of a user's preferences in random order, as `without_repetition` does.

        What is to be predicted must not stand among the shots: no prompt comes twice, and no two
        responses.

        Args:
            user_id: whose preferences.
            shots: how many come before the last one, which is the target.
            seed: what the draw depends on; the same seed draws the same episode.

        Raises:
            FspoError: if the user is unknown, or has preferences on too few different prompts.
        """
        drawn = self.draw(user_id, shots + 1, seed)
        if len(drawn.preferences) <= shots:
            raise FspoError(
                f"{self.source or 'preferences'}: user {excerpt(user_id)} has preferences on "
                f"{len(drawn.preferences)} different prompts or responses; an episode of {shots} "
                f"shots needs {shots + 1}. Ask for fewer shots, or leave this user out."
            )
        return drawn

    def draw(self, user_id: str, most: int, seed: int | Sequence[int]) -> Episode:
        """Like `episode`, but shorter where a user has less than `most` preferences to give.

        Raises:
            FspoError: if the user is unknown.
        """
        if user_id not in self.by_user:
            raise FspoError(f"{self.source or 'preferences'}: there is no user {excerpt(user_id)}")
        rows = self.by_user[user_id]
        order = np.random.default_rng(seed).permutation(len(rows))
        return Episode(user_id, without_repetition([rows[index] for index in order], most))


def without_repetition(
    rows: Sequence[Preference], most: int, apart_from: Sequence[Preference] = ()
) -> list[Preference]:
    """The first of `rows`, no prompt twice and no pair of responses twice, whichever was chosen.

    Only where there are too few prompts for that (some data sets ask everybody the same question)
    do prompts come again behind these, and then never with a response that was drawn before. Only
    where all of these rows are between the same two responses, such as yes and no, do these come
    with every prompt. Prompts and responses are compared by `plain_text`.

    Args:
        rows: in order.
        most: how many at most.
        apart_from: prompts and responses that are taken already.
    """
    every = (*apart_from, *rows)
    one_pair = all(row.plain_pair == every[0].plain_pair for row in every)
    prompts = {row.plain[0] for row in apart_from}
    pairs = {row.plain_pair for row in apart_from}
    drawn: list[Preference] = []
    others: list[Preference] = []
    for row in rows:
        if len(drawn) == most:
            break
        if row.plain[0] in prompts or (row.plain_pair in pairs and not one_pair):
            others.append(row)
        else:
            drawn.append(row)
            prompts.add(row.plain[0])
            pairs.add(row.plain_pair)
    responses = {text for row in (*apart_from, *drawn) for text in row.plain_pair}
    for row in others:
        if len(drawn) == most:
            break
        if not row.plain_pair & responses:
            responses |= row.plain_pair
            drawn.append(row)
    return drawn


def training_rows(preferences: Preferences) -> list[Preference]:
    """Every row, whoever's.

    Raises:
        FspoError: if there are none: a predictor has nothing to be fitted on.
    """
    rows = [preference for _, preference in preferences]
    if not rows:
        raise FspoError(f"{preferences.source or 'preferences'}: there is nothing to fit on")
    return rows
