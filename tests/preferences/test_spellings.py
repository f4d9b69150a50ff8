"""Prompts and responses that only a computer can tell apart count as one, wherever it matters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fspo import Episode, Preference, Preferences
from fspo.evaluation.probing import draw_probes
from fspo.methods.baselines.vectors import draw_samples
from fspo.methods.baselines.vectors import hold_out as kept_apart
from fspo.preferences.checking import check
from fspo.preferences.factors import ResponseFactors
from fspo.preferences.imputing import Imputed
from fspo.preferences.opposites import opposites
from fspo.preferences.records import plain_text, without_repetition
from fspo.preferences.splitting import hold_out

BLANKS = st.sampled_from(
    [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", " \u200b", "\ufeff "]
)
EDGES = st.sampled_from(["", "", " ", "\n", "\ufeff", "\u200b", "\u2009"])


@st.composite
def spellings(draw: st.DrawFn, text: str) -> str:
    """The same text with other white space, its accents as one character or as two."""
    words = [
        unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), word) for word in text.split()
    ]
    blanks = [draw(BLANKS) for _ in words[1:]] + [""]
    inner = "".join(word + blank for word, blank in zip(words, blanks, strict=True))
    return draw(EDGES) + inner + draw(EDGES)


PROMPTS = [f"Où est le café n\u00b0 {n} ?" for n in range(6)]
ANSWERS = [f"réponse nº {n} à cela" for n in range(12)]


@st.composite
def rows(draw: st.DrawFn) -> list[Preference]:
    """A user's rows: some prompts, some pairs, in any spelling, order and number."""
    found = []
    for _ in range(draw(st.integers(2, 14))):
        prompt = draw(st.sampled_from(PROMPTS))
        one, other = draw(st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=2, unique=True))
        found.append(Preference(*(draw(spellings(text)) for text in (prompt, one, other))))
    return found


@given(st.sampled_from(PROMPTS + ANSWERS), st.data())
def test_spellings_of_a_text_are_one_and_other_texts_are_not(
    text: str, data: st.DataObject
) -> None:
    one, other = data.draw(spellings(text)), data.draw(spellings(text))
    assert plain_text(one) == plain_text(other) == plain_text(plain_text(one))
    others = {plain_text(another) for another in PROMPTS + ANSWERS if another != text}
    assert plain_text(one) not in others
    assert plain_text(one) != plain_text(one + "x")


def no_twins(drawn: Sequence[Preference]) -> None:
    """Nothing of a row tells what was chosen in another: asked of every two, naively."""
    many = len({p.plain_pair for p in drawn}) > 1
    for place, p in enumerate(drawn):
        for q in drawn[:place]:
            same_prompt = plain_text(p.prompt) == plain_text(q.prompt)
            responses = {plain_text(p.chosen), plain_text(p.rejected)}
            others = {plain_text(q.chosen), plain_text(q.rejected)}
            assert not (same_prompt and responses & others)
            assert not (responses == others and many)


@given(rows(), st.integers(1, 9), st.integers(0, 5))
def test_no_episode_holds_a_prompt_or_a_pair_twice(
    own: list[Preference], most: int, seed: int
) -> None:
    drawn = Preferences({"u": own}).draw("u", most, seed).preferences
    no_twins(drawn)
    assert set(drawn) <= set(own)
    pairs = {p.plain_pair for p in own}
    if len(pairs) > 1:
        assert len({p.plain_pair for p in drawn}) == len(drawn)
    before = own[:2]
    no_twins_of = without_repetition(own[2:], most, before)
    if len({p.plain_pair for p in own}) > 1:
        assert not {p.plain_pair for p in no_twins_of} & {p.plain_pair for p in before}


@given(rows(), st.integers(0, 4), st.integers(1, 3))
def test_what_is_asked_is_not_among_the_shots(
    own: list[Preference], shots: int, targets: int
) -> None:
    preferences = Preferences({"u": own})
    for probe in draw_probes(preferences, ["u"], shots=shots, targets=targets, draws=3, seed=1):
        no_twins([*probe.shots, *probe.targets])


def test_answers_like_yes_and_no_come_with_every_prompt() -> None:
    """The two responses alone tell nothing of a row where all rows have them."""
    own = [Preference(f"q{n}", *(("yes", "no") if n % 3 else ("no", "yes"))) for n in range(9)]
    drawn = Preferences({"u": own}).episode("u", 8, 0).preferences
    assert {p.prompt for p in drawn} == {p.prompt for p in own}
    twin = [*own, Preference("q1 ", "no", "yes")]
    assert len(Preferences({"u": twin}).draw("u", 20, 0).preferences) == 9


def as_it_was(rows: Sequence[Preference], most: int) -> list[Preference]:
    """What was drawn when texts were compared to the letter, and pairs were not looked at."""
    prompts: set[str] = set()
    drawn: list[Preference] = []
    others: list[Preference] = []
    for row in rows:
        if len(drawn) == most:
            break
        (others if row.prompt in prompts else drawn).append(row)
        prompts.add(row.prompt)
    responses = {text for row in drawn for text in (row.chosen, row.rejected)}
    for row in others:
        if len(drawn) == most:
            break
        if row.chosen not in responses and row.rejected not in responses:
            responses |= {row.chosen, row.rejected}
            drawn.append(row)
    return drawn


few = st.sampled_from(["a", "b  b", "c", "é", "d", " e"])


@given(
    st.lists(
        st.builds(Preference, few, st.sampled_from("uvwxyz"), st.sampled_from("UVWXYZ")),
        unique_by=lambda p: p.plain_pair,
    ),
    st.integers(1, 8),
    st.integers(0, 9),
)
def test_episodes_of_data_without_twins_are_drawn_as_ever(
    own: list[Preference], most: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(own))
    drawn = Preferences({"u": own}).draw("u", most, seed).preferences
    assert drawn == as_it_was([own[index] for index in order], most)


def test_an_episode_that_was_written_down_is_drawn_again() -> None:
    """The same seed has drawn these since the first release."""
    own = [Preference(f"q{n % 5}", f"good {n}", f"bad {n}") for n in range(12)]
    drawn = Preferences({"u": own}).draw("u", 8, [7, 3]).preferences
    assert [p.chosen for p in drawn] == WRITTEN


WRITTEN = [f"good {n}" for n in (4, 2, 5, 8, 11, 7, 3, 10)]


@st.composite
def people(draw: st.DrawFn) -> Preferences:
    """Users who were asked about the same prompts, each in a spelling of its own."""
    found: dict[str, list[Preference]] = {}
    for user in "abcdef":
        found[user] = []
        for number in draw(st.lists(st.integers(0, 5), min_size=2, max_size=6)):
            pair = ANSWERS[number], ANSWERS[number + 6]
            texts = [PROMPTS[number], *(pair if draw(st.booleans()) else pair[::-1])]
            found[user].append(Preference(*(draw(spellings(text)) for text in texts)))
    return Preferences(found)


@given(people(), st.sampled_from([0.0, 0.4]), st.sampled_from([0.3, 0.5]))
def test_a_prompt_that_is_held_out_is_held_out_in_every_spelling(
    data: Preferences, users: float, prompts: float
) -> None:
    assume(len({p.plain[0] for _, p in data}) > 3)
    split = hold_out(data, users, prompts)
    unseen = {plain_text(prompt) for prompt in split.unseen}
    assert len(unseen) == round(prompts * len({p.plain[0] for _, p in data}))
    assert not unseen & {plain_text(p.prompt) for _, p in split.train}
    assert split.unseen == {p.prompt for _, p in data if plain_text(p.prompt) in unseen}


@given(people(), st.integers(0, 3))
def test_methods_are_fitted_on_other_prompts_than_they_are_tried_on(
    data: Preferences, seed: int
) -> None:
    for sample in draw_samples(data, np.random.default_rng(seed), most_shots=2):
        shown = {p.plain[0] for p in sample.shots}
        others = [p for p in sample.targets if p.plain[0] in shown]
        assert not others or len(others) == len(sample.targets)
    many = Preferences({f"{user}{n}": r for user, r in data.by_user.items() for n in range(2)})
    training, samples = kept_apart(many, np.random.default_rng(seed))
    if samples and len({p.plain[0] for _, p in many}) >= 10:
        learned = {p.plain[0] for _, p in training}
        assert not learned & {p.plain[0] for s in samples for p in s.targets}


@given(people())
def test_data_check_counts_as_if_everything_were_spelled_once(data: Preferences) -> None:
    def spelled_once(p: Preference) -> Preference:
        return Preference(*map(plain_text, (p.prompt, p.chosen, p.rejected)))

    once = {user: [spelled_once(p) for p in own] for user, own in data.by_user.items()}
    found, wanted = check(data.by_user), check(once)
    for name in ("prompts", "duplicates", "contradictions", "ties", "prompts_repeated_by_a_user"):
        assert found[name] == wanted[name]
    naive = sum(p in own[:k] for own in once.values() for k, p in enumerate(own))
    assert found["duplicates"]["count"] == naive


def _couples(data: Preferences) -> list[tuple[str, str, list[tuple[str, ...]]]]:
    return [
        (c.one, c.other, [p.plain for p in c.preferences])
        for c in opposites(data, np.random.default_rng(0))
    ]


def _twins(spelled: bool) -> Preferences:
    """Two camps; where `spelled`, every other user writes prompts and answers in another way."""
    by_user = {}
    for user in range(8):
        own = []
        for n in range(6):
            texts = [PROMPTS[n], ANSWERS[n], ANSWERS[n + 6]]
            if spelled and user % 4 > 1:
                texts = [unicodedata.normalize("NFD", text).replace(" ", "  ") for text in texts]
            prompt, one, other = texts
            own.append(Preference(prompt, *((one, other) if user % 2 else (other, one))))
        by_user[f"u{user}"] = own
    return Preferences(by_user)


def test_opposites_and_factors_see_one_response_in_every_spelling() -> None:
    assert _couples(_twins(spelled=True)) == _couples(_twins(spelled=False))
    assert _couples(_twins(spelled=True))
    one, other = (
        ResponseFactors(_twins(spelled), np.random.default_rng(0)) for spelled in (True, False)
    )
    assert [(plain_text(q), plain_text(a)) for q, a in one.responses] == [
        (plain_text(q), plain_text(a)) for q, a in other.responses
    ]
    np.testing.assert_allclose(one.biases, other.biases)
    np.testing.assert_allclose(one.factors, other.factors)


@pytest.mark.parametrize("seed", range(4))
def test_imputed_episodes_have_no_twins(seed: int) -> None:
    imputed = Imputed(_twins(spelled=True), np.random.default_rng(seed))
    episodes: list[Episode] = [imputed.draw(f"u{n}", 6, [seed, n]) for n in range(8)]
    shots = _twins(spelled=True).by_user["u2"][:2]
    episodes.append(imputed.behind("u2", "u3", shots, 6, [seed]))
    for episode in episodes:
        no_twins(episode.preferences)
    assert any(len(episode.preferences) > 1 for episode in episodes)
