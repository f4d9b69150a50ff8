"""Shots turned round: what cancels and what stays, and that what is asked is what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference, Preferences, User
from fspo.evaluation.answer_cache import AnswerCache
from fspo.evaluation.mirroring import mirrored, probe_mirrored, turned_round
from fspo.evaluation.probing import Probe, probe
from fspo.evaluation.ranking import rank
from fspo.methods.method import Floats

TARGETS = [Preference("q", "long one", "x"), Preference("q", "y", "longer one")]


class Reader:
    """Likes long texts as much as the shots do, and is led astray by the words that it has read.

    Everybody likes early letters; a shot says by its lengths, the right way round, whether the user
    likes long texts; and every shot, whichever way round, pulls towards its longer text.
    """

    name = "reader"

    def __init__(self, astray: float) -> None:
        self._astray = astray

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        def longer(p: Preference) -> int:
            return len(p.chosen) - len(p.rejected)

        def said(target: Preference, read: Sequence[Preference]) -> float:
            everybody = ord(target.rejected[0]) - ord(target.chosen[0])
            taste = sum(longer(shot) for shot in read)
            pull = sum(abs(longer(shot)) for shot in read)
            return everybody + (taste + self._astray * pull) * longer(target)

        return np.array([[said(t, shots[:k]) for t in targets] for k in counts], float)


shots_of_somebody = st.lists(
    st.builds(Preference, st.just("p"), st.text("ab", min_size=1), st.text("ab", min_size=1)),
    min_size=1,
    max_size=4,
)


@given(shots_of_somebody, st.floats(-3, 3))
def test_what_the_words_do_whichever_was_chosen_cancels_and_the_choices_stay(
    shots: list[Preference], astray: float
) -> None:
    counts = list(range(len(shots) + 1))
    probes = [Probe(User("u"), shots, TARGETS)]
    reader = Reader(astray)
    [read] = probe_mirrored(reader, probes, counts, probe(reader, probes, counts))
    plain = Reader(0.0).log_odds(User("u"), shots, TARGETS, counts)
    assert read == pytest.approx(plain, abs=1e-9)


def test_by_hand() -> None:
    everybody, told, opposite = np.array([1.0, -2.0]), np.array([3.0, 0.0]), np.array([1.0, 1.0])
    assert mirrored(everybody, told, opposite).tolist() == [2.0, -2.5]
    [turned] = turned_round([Preference("p", "good", "bad")])
    assert turned == Preference("p", "bad", "good")


def test_what_was_said_of_the_opposite_is_kept_beside_what_was_said_of_the_user(
    tmp_path: Path,
) -> None:
    probes = [Probe(User("u"), [Preference("p", "aa", "b")], TARGETS)]
    reader, kept = Reader(1.0), AnswerCache(tmp_path, "reader", "")
    told = probe(reader, probes, [0, 1], kept)
    first = probe_mirrored(reader, probes, [0, 1], told, kept)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    again = probe_mirrored(Reader(9.0), probes, [0, 1], told, kept)
    assert again[0].tolist() == first[0].tolist() != told[0].tolist()


def test_ranking_asks_for_everybody_the_user_and_the_opposite() -> None:
    """The shot, on short texts, says little; that its texts differ much leads the reader astray."""
    shots = [Preference("p", "a", "aaaa")]
    preferences = Preferences({"u": shots})
    answers = ["aa", "aaaaaaa"]
    plain = rank(Reader(5.0), preferences, "q", answers)
    turned = rank(Reader(5.0), preferences, "q", answers, mirror=True)
    assert [row["index"] for row in plain] == [1, 0]
    assert [row["index"] for row in turned] == [0, 1]
    # Of a taste of -3 for every letter, over five letters.
    assert turned[0]["reward"] - turned[1]["reward"] == pytest.approx(15.0)
