"""Drawing episodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User


def dataset(prompts: list[str]) -> Preferences:
    return Preferences({"ann": [Preference(p, f"good {i}", "bad") for i, p in enumerate(prompts)]})


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1), st.integers(0, 8), st.integers(0, 99))
def test_an_episode_has_no_prompt_twice(prompts: list[str], shots: int, seed: int) -> None:
    preferences = dataset(prompts)
    if len(set(prompts)) < shots + 1:
        with pytest.raises(FspoError, match=f"an episode of {shots} shots needs {shots + 1}"):
            preferences.episode("ann", shots, seed)
        return
    episode = preferences.episode("ann", shots, seed)
    drawn = [p.prompt for p in episode.preferences]
    assert len(drawn) == len(set(drawn)) == shots + 1
    assert set(episode.preferences) <= set(preferences.by_user["ann"])
    assert episode == preferences.episode("ann", shots, seed)


def test_seeds_draw_differently() -> None:
    preferences = dataset(list("abcdefghijklmnop"))
    drawn = {tuple(preferences.episode("ann", 8, seed).preferences) for seed in range(20)}
    assert len(drawn) == 20


def test_unknown_users_and_single_preferences_are_named() -> None:
    with pytest.raises(FspoError, match="no user 'bob'"):
        dataset(["a"]).episode("bob")
    with pytest.raises(FspoError, match="on 1 different prompts"):
        dataset(["a", "a"]).episode("ann", shots=1)


def test_one_question_for_everybody_never_repeats_a_response() -> None:
    rows = [Preference("q", f"good {k}", f"bad {k}") for k in range(6)]
    rows += [Preference("q", "good 0", "bad 1"), Preference("q", "good 2", "bad 0")]
    preferences = Preferences({"ann": rows})
    for seed in range(30):
        drawn = preferences.draw("ann", 9, seed).preferences
        responses = [text for p in drawn for text in (p.chosen, p.rejected)]
        assert len(set(responses)) == len(responses)
        assert 4 <= len(drawn) <= 6
    with pytest.raises(FspoError, match="an episode of 8 shots needs 9"):
        preferences.episode("ann", shots=8)


def test_prompts_come_again_only_when_there_are_no_others() -> None:
    rows = [Preference(f"q{k % 3}", f"good {k}", f"bad {k}") for k in range(9)]
    drawn = Preferences({"ann": rows}).episode("ann", shots=4, seed=1).preferences
    assert len({p.prompt for p in drawn[:3]}) == 3
    assert len({p.chosen for p in drawn}) == 5


def test_splits() -> None:
    pair = [Preference("q", "a", "b")]
    users = [User("ann", split="train"), User("bob", split="test")]
    preferences = Preferences({"ann": pair, "bob": pair, "cy": pair}, users)
    assert list(preferences.of("test").by_user) == ["bob"]
    assert preferences.users["cy"] == User("cy")
