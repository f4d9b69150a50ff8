"""Imputed choices: against the factors' own word, and against users whose taste is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import Preference, Preferences
from fspo.errors import FspoError
from fspo.preferences import imputing
from fspo.preferences.factors import ResponseFactors, fit_factors
from fspo.preferences.imputing import Imputed

KINDS = ("good and warm", "good and cold", "bad and warm", "bad and cold")
TEXTS = {f"{kind} {number}": kind for kind in KINDS for number in range(5)}


def utility(user: str, text: str) -> float:
    """Everybody likes what is good; some like it warm and some cold, half as much again."""
    kind = TEXTS[text]
    return 2.0 * kind.startswith("good") + 3.0 * (kind.endswith("warm") == user.startswith("warm"))


def people(count: int = 60, pairs: int = 10, seed: int = 0) -> Preferences:
    generator = np.random.default_rng(seed)
    by_user = {}
    for number in range(count):
        user = f"{('warm', 'cold')[number % 2]} {number}"
        own = []
        while len(own) < pairs:
            one, other = (str(text) for text in generator.choice(list(TEXTS), 2, replace=False))
            gap = utility(user, one) - utility(user, other)
            if gap:
                own.append(Preference("Which?", *((one, other) if gap > 0 else (other, one))))
        by_user[user] = own
    return Preferences(by_user, source="mine")


EVERYBODY = people()


@cache
def imputed() -> Imputed:
    return Imputed(EVERYBODY, np.random.default_rng(0))


@cache
def fitted() -> ResponseFactors:
    return ResponseFactors(EVERYBODY, np.random.default_rng(0))


def test_users_choose_as_their_taste_says() -> None:
    right, contested, new = [], [], []
    for number, user in enumerate(EVERYBODY.by_user):
        asked = {frozenset((p.chosen, p.rejected)) for p in EVERYBODY.by_user[user]}
        for p in imputed().draw(user, 8, number).preferences:
            right.append(utility(user, p.chosen) > utility(user, p.rejected))
            contested.append(TEXTS[p.chosen].split()[2] != TEXTS[p.rejected].split()[2])
            new.append(frozenset((p.chosen, p.rejected)) not in asked)
    assert np.mean(right) > 0.85  # they are drawn, and the factors are nowhere quite sure
    assert np.mean(new) > 0.8
    assert np.mean(contested) > 0.65  # 0.53 of all pairs


@given(st.integers(0, 59), st.integers(1, 12), st.integers(0, 10**6))
def test_pairs_are_those_that_the_factors_are_sure_of(number: int, most: int, seed: int) -> None:
    user = list(EVERYBODY.by_user)[number]
    drawn = imputed().draw(user, most, seed)
    own = fitted().of_user(EVERYBODY.by_user[user])
    said = drawn.preferences
    assert all(np.abs(fitted().log_odds(own, said)) >= imputing._SURE - 1e-9)
    texts = [text for p in said for text in (p.chosen, p.rejected)]
    assert len(set(texts)) == len(texts)
    assert 0 < len(said) <= most
    assert len(drawn.likely) == len(said)
    assert drawn == imputed().draw(user, most, seed)


def test_choices_are_as_likely_as_the_factors_say() -> None:
    """So often do they go against the likelier one."""
    likelier, as_often = [], []
    for number, user in enumerate([*EVERYBODY.by_user] * 10):
        said = imputed().draw(user, 6, number).preferences
        log_odds = fitted().log_odds(fitted().of_user(EVERYBODY.by_user[user]), said)
        likelier += list(log_odds > 0)
        as_often += list(1 / (1 + np.exp(-np.abs(log_odds))))
    assert np.mean(likelier) == pytest.approx(np.mean(as_often), abs=0.02)  # of 3,600


@given(st.integers(0, 59), st.integers(0, 10**6))
def test_what_is_likely_is_known_from_the_shots_before(number: int, seed: int) -> None:
    """The factor that makes these shots and a normal prior likeliest, by trying them all."""
    drawn = imputed().draw(list(EVERYBODY.by_user)[number], 5, seed)
    tried = np.linspace(-8, 8, 16_001)
    cost = tried**2 / 2
    for p, likely in zip(drawn.preferences, drawn.likely, strict=True):
        best = tried[np.argmin(cost)]
        [odds] = fitted().log_odds(np.array([best]), [p])
        assert likely == pytest.approx(1 / (1 + np.exp(-odds)), abs=5e-3)
        [none], [one] = (fitted().log_odds(np.array([taste]), [p]) for taste in (0.0, 1.0))
        cost = cost + np.logaddexp(0, -(none + tried * (one - none)))


def sides(said: list[Preference]) -> list[frozenset[str]]:
    return [frozenset((p.chosen, p.rejected)) for p in said]


def test_opposites_are_asked_the_same_and_want_the_reverse_where_it_is_personal() -> None:
    """Of what is good both want more; the pairs are drawn anew for every user."""
    as_user, as_opposite = [], []
    for number, user in enumerate(EVERYBODY.by_user):
        one, other = (imputed().draw(user, 8, number, opposite) for opposite in (False, True))
        assert sides(one.preferences) == sides(other.preferences)
        for own, p in zip(one.preferences, other.preferences, strict=True):
            kinds = [TEXTS[text] for text in (p.chosen, p.rejected)]
            if len({kind.split()[2] for kind in kinds}) == 2:
                as_user.append(own.chosen.split()[2] == user.split()[0])
                as_opposite.append(kinds[0].split()[2] == user.split()[0])
            elif kinds[0] != kinds[1]:
                assert own == p or own == p.reversed()
    assert np.mean(as_user) > 0.75
    assert np.mean(as_opposite) < 0.3


def test_behind_the_shots_stands_what_either_side_thinks_of_everything_else() -> None:
    warm, cold = "warm 0", "cold 1"
    shots = [Preference("Which?", f"good and warm {n}", f"good and cold {n}") for n in range(3)]
    back = [p.reversed() for p in shots]
    own, other = [], []
    for seed in range(40):
        one = imputed().behind(warm, cold, shots, 7, seed)
        two = imputed().behind(cold, warm, back, 7, seed)
        assert (one.user_id, one.preferences[:3]) == (warm, shots)
        assert (two.user_id, two.preferences[:3]) == (cold, back)
        assert sides(one.preferences) == sides(two.preferences)
        texts = [text for p in one.preferences for text in (p.chosen, p.rejected)]
        assert len(set(texts)) == len(texts) == 14
        own += [TEXTS[p.chosen].endswith("warm") for p in one.preferences[3:]]
        other += [TEXTS[p.chosen].endswith("warm") for p in two.preferences[3:]]
        assert one.likely[0] == pytest.approx(1 - two.likely[0])  # before anything is known
        assert min(one.likely[2], two.likely[2]) > 0.7  # two such shots say who it is
    assert np.mean(own) > 0.8
    assert np.mean(other) < 0.2


def test_between_two_who_are_alike_nothing_is_personal() -> None:
    shots = [Preference("Which?", "good and warm 0", "bad and cold 0")]
    assert imputed().behind("warm 0", "warm 0", shots, 5, 0).preferences == shots


def test_half_of_the_pairs_depend_on_who_the_user_is() -> None:
    share = []
    for user in EVERYBODY.by_user:
        said = imputed().draw(user, 6, 1).preferences
        common = fitted().log_odds(np.zeros(1), said)
        own = fitted().log_odds(fitted().of_user(EVERYBODY.by_user[user]), said) - common
        share.append(np.mean(np.abs(own) >= np.abs(common)))
    assert 0.5 <= np.mean(share) < 1


def of_one_mind(count: int = 60, pairs: int = 6) -> Preferences:
    """Who all like the same, and choose the other one of two a fifth of the time, by chance."""
    generator = np.random.default_rng(0)
    by_user = {}
    for number in range(count):
        drawn = [generator.permutation(list(TEXTS))[:2].tolist() for _ in range(pairs)]
        said = [sorted(pair, reverse=True) for pair in drawn]  # good is better than bad
        by_user[f"u{number}"] = [
            Preference("Which?", *(pair[::-1] if generator.random() < 0.2 else pair))
            for pair in said
        ]
    return Preferences(by_user)


def test_a_factor_is_fitted_where_it_foretells_choices() -> None:
    told_apart = fit_factors(EVERYBODY, np.random.default_rng(0))
    assert told_apart.factors.tolist() == fitted().factors.tolist()
    assert told_apart.biases.tolist() == fitted().biases.tolist()
    assert fit_factors(of_one_mind(), np.random.default_rng(0)).factors.shape == (20, 0)


def test_of_people_of_one_mind_nothing_is_personal() -> None:
    of_all = Imputed(of_one_mind(), np.random.default_rng(0))
    for number in range(60):
        drawn = of_all.draw(f"u{number}", 8, number)
        assert drawn.preferences == of_all.draw("u0", 8, number).preferences
        biases = dict(zip(of_all.fitted.responses, of_all.fitted.biases, strict=True))
        for p, likely in zip(drawn.preferences, drawn.likely, strict=True):
            log_odds = biases["Which?", p.chosen] - biases["Which?", p.rejected]
            assert abs(log_odds) >= imputing._SURE - 1e-9
            assert likely == pytest.approx(1 / (1 + np.exp(-log_odds)))


def test_a_single_choice_is_fitted_as_it_is() -> None:
    lonely = Preferences({"u": [Preference("Which?", "a", "b")]})
    assert fit_factors(lonely, np.random.default_rng(0)).factors.shape == (2, 1)


def test_responses_are_compared_within_a_prompt_and_lonely_pairs_stay_as_they_are() -> None:
    taste = {"tea": "coffee", "cake": "pie", "sun": "rain"}
    by_user = {
        f"u{number}": [
            Preference(f"{good}?", *((good, bad) if number % 2 else (bad, good)))
            for good, bad in taste.items()
        ]
        for number in range(20)
    }
    of_all = Imputed(Preferences(by_user), np.random.default_rng(0))
    for user, own in by_user.items():
        said = of_all.draw(user, 3, 0).preferences
        assert sorted(p.prompt for p in said) == ["cake?", "sun?", "tea?"]
        assert {p.prompt: {p.chosen, p.rejected} for p in said} == {
            p.prompt: {p.chosen, p.rejected} for p in own
        }


def test_of_whom_nothing_is_sure_there_is_nothing() -> None:
    by_user = {f"u{n}": [Preference("?", *(("a", "b") if n % 2 else ("b", "a")))] for n in range(2)}
    of_both = Imputed(Preferences(by_user), np.random.default_rng(0))
    assert of_both.draw("u0", 4, 0).preferences == []


def test_without_preferences_there_is_nothing_to_fit_on() -> None:
    with pytest.raises(FspoError, match="mine: there is nothing to fit on"):
        Imputed(Preferences({}, source="mine"), np.random.default_rng(0))
