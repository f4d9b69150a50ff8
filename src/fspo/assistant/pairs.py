"""Two answers to choose between: to a question of the person's own, or to one that tells much."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from fspo.assistant.answering import wanted
from fspo.assistant.backend import Backend, Person
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference

_LOOKED_AT = 200  # of a large dataset, so many pairs are candidates at a time


class Pairs:
    """Pairs to ask about, from a preference dataset; whose choices they were does not matter."""

    def __init__(self, backend: Backend, known: Sequence[Preference]) -> None:
        self._backend = backend
        self._known = _different(known)

    def next(
        self, person: Person, besides: tuple[str, Sequence[str]] | None = None
    ) -> dict[str, Any] | None:
        """The pair that is expected to tell most of those not yet answered; None if all were.

        Args:
            person: who is asked.
            besides: a prompt and its two answers that are on the person's screen already.
        """
        answered = {_key(shot) for shot in person.shots}
        if besides:
            answered.add((besides[0], frozenset(besides[1])))
        open_pairs = [pair for pair in self._known if _key(pair) not in answered]
        if not open_pairs:
            return None
        seed = secrets.randbits(32)
        order = np.random.default_rng(seed).permutation(len(open_pairs))[:_LOOKED_AT]
        candidates = [open_pairs[index] for index in order]
        index, informed = self._backend.choose(person, candidates, seed)
        pair = candidates[index]
        return _shown(pair.prompt, [pair.chosen, pair.rejected], "gain" if informed else "chance")

    def about(self, person: Person, prompt: str, sampling: Sampling) -> dict[str, Any]:
        """Two answers to the person's own question: one personal, one of the model as it comes.

        Raises:
            FspoError: if the model gives twice the same.
        """
        messages = [{"role": "user", "content": prompt}]
        personal = "".join(wanted(self._backend.reply(person, messages, sampling).pieces)).strip()
        for _ in range(3):
            plain = "".join(wanted(self._backend.plain(messages, sampling).pieces)).strip()
            if plain and plain != personal:
                break
        if not personal or not plain or plain == personal:
            raise FspoError("the model has no two answers to this; ask something else")
        return _shown(prompt, [personal, plain], "own")


def _shown(prompt: str, answers: list[str], chosen_by: str) -> dict[str, Any]:
    """The pair with its sides drawn."""
    if secrets.randbits(1):
        answers.reverse()
    return {"prompt": prompt, "answers": answers, "chosen_by": chosen_by}


def _different(known: Sequence[Preference]) -> list[Preference]:
    found = {_key(pair): pair for pair in known if pair.chosen != pair.rejected}
    return list(found.values())


def _key(pair: Preference) -> tuple[str, frozenset[str]]:
    return pair.plain[0], pair.plain_pair
