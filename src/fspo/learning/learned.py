"""The users and prompts that a policy has learned from, as hashes beside its weights.

An evaluation is of people, or of prompts, that are new to a policy. Whether they are is told by
what was read, not by where it lay: a copy, a moved folder or a part of the data is the same data.

    policy/learned_from.npz    for the policy (0/), and each one that it went on from (1/, 2/, ...):
                               users, rows, prompts: sorted uint64 hashes; shares: float64 (2,)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fspo.errors import FspoError
from fspo.files import replacing
from fspo.preferences.records import Preference, Preferences

LEARNED = "learned_from.npz"


class Learned(NamedTuple):
    """The users and prompts of one run of training, as hashes.

    Attributes:
        users: their ids.
        rows: who judged which pair of responses to which prompt, whichever was chosen.
        prompts: what they were asked.
        shares: of users and of prompts that were held out of it, from 0 to 1.
    """

    users: NDArray[np.uint64]
    rows: NDArray[np.uint64]
    prompts: NDArray[np.uint64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, preferences: Preferences, shares: tuple[float, float] = (0.0, 0.0)) -> Learned:
        """Returns the hashes of all that these preferences hold."""
        return cls(
            _hashes(preferences.by_user),
            _hashes(_row(user, p) for user, p in preferences),
            _hashes({p.plain[0] for _, p in preferences}),
            np.array(shares, np.float64),
        )

    def users_in(self, every: Preferences) -> set[str]:
        """Returns whom of a dataset's users this has learned from.

        Names alone say nothing: two datasets may both have a "user 1". Where they share one row,
        though, the same name is the same person, whose other rows may be new.
        """
        rows = (_row(user, p) for user, p in every)
        if not np.isin(np.fromiter(map(_hash, rows), np.uint64), self.rows).any():
            return set()
        return self._in(every.by_user, self.users)

    def prompts_in(self, prompts: Iterable[str]) -> set[str]:
        """Returns which of these prompts (as `plain_text`) this has learned from, from anybody."""
        return self._in(prompts, self.prompts)

    @staticmethod
    def _in(texts: Iterable[str], known: NDArray[np.uint64]) -> set[str]:
        named = list(texts)
        found = np.isin(np.fromiter(map(_hash, named), np.uint64, len(named)), known)
        return {name for name, is_known in zip(named, found, strict=True) if is_known}


def save_learned(folder: Path, own: Learned, adapter: Path | None = None) -> None:
    """Writes what a policy has learned from, and what the adapter that it went on from had.

    Raises:
        FspoError: if the folder cannot be written, or the adapter's file cannot be read.
    """
    every = [own, *(load_learned(adapter) if adapter else ())]
    arrays = {
        f"{number}/{name}": values
        for number, learned in enumerate(every)
        for name, values in learned._asdict().items()
    }
    with replacing(folder / LEARNED) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_learned(folder: Path) -> list[Learned]:
    """Returns what `save_learned` wrote, the policy's own first; nothing if there is no such file.

    Raises:
        FspoError: if the file is another one, or damaged.
    """
    path = folder / LEARNED
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            count = len(arrays.files) // len(Learned._fields)
            return [
                Learned(*(arrays[f"{number}/{name}"] for name in Learned._fields))
                for number in range(count)
            ]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise FspoError(
            f"{path}: this is not what `fspo train` writes ({error}). It says whom the policy has "
            "learned from; put the right one there, or train again."
        ) from error


def _row(user_id: str, p: Preference) -> str:
    return json.dumps([user_id, p.plain[0], sorted(p.plain[1:])])


def _hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    return np.unique(np.fromiter(map(_hash, texts), np.uint64))


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
