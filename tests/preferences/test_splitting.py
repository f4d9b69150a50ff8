"""Users and prompts that are held out: who they are, and that training sees nothing of them."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User
from fspo.preferences.splitting import fewer, hold_out, in_no_split

names = st.text("abcdefgh", min_size=1, max_size=4)
rows = st.lists(st.builds(Preference, names, st.just("good"), st.just("bad")), min_size=1)
datasets = st.dictionaries(names, rows, min_size=4, max_size=12).map(Preferences)


@given(datasets, st.floats(0.2, 0.8), st.sampled_from([0.0, 0.3, 0.5]))
def test_what_is_held_out_is_not_in_training(
    data: Preferences, users: float, prompts: float
) -> None:
    try:
        split = hold_out(data, users, prompts)
    except FspoError:
        reject()  # one side would be empty
    assert len(split.test.by_user) == round(users * len(data.by_user))
    assert not split.train.by_user.keys() & split.test.by_user.keys()
    assert len(split.unseen) == round(prompts * len({p.prompt for _, p in data}))
    assert not {p.prompt for _, p in split.train} & split.unseen
    for user, own in split.test.by_user.items():
        assert own == data.by_user[user]
    for user, own in split.train.by_user.items():
        assert own == [p for p in data.by_user[user] if p.prompt not in split.unseen]


def test_the_split_goes_by_names_alone() -> None:
    users = {f"u{n}": [Preference(f"q{n % 7}", "a", "b")] for n in range(40)}
    one = hold_out(Preferences(users), 0.25, 0.3)
    turned = dict(reversed(list(users.items())))
    other = hold_out(Preferences(turned), 0.25, 0.3)
    assert one.test.by_user.keys() == other.test.by_user.keys()
    assert one.unseen == other.unseen


def test_a_share_that_leaves_a_side_empty_is_named() -> None:
    data = Preferences({f"u{n}": [Preference("q", "a", "b")] for n in range(5)}, source="mine")
    with pytest.raises(FspoError, match=r"mine: --holdout-prompts 0\.2 sets 0 of 1 prompts apart"):
        hold_out(data, 0.2, 0.2)
    with pytest.raises(FspoError, match=r"--holdout-users 0\.01 sets 0 of 5 users apart"):
        hold_out(data, 0.01, 0)


@given(datasets, st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_fewer_users_are_among_more_and_neighbors_stay_together(
    data: Preferences, users: int, each: int, seed: int
) -> None:
    small, large = fewer(data, users, each, seed), fewer(data, users + 2, None, seed)
    names = list(data.by_user)
    assert len(small.by_user) == min(users, len(names))
    assert set(small.by_user) <= set(large.by_user)
    for name, own in small.by_user.items():
        assert own == data.by_user[name][:each]
    pairs = [names[k : k + 2] for k in range(0, len(names), 2)]
    kept = [sum(name in small.by_user for name in pair) for pair in pairs]
    assert sum(count == 1 for count in kept if count) <= 1 + len(names) % 2
    everybody = fewer(data, None, None, seed)
    assert everybody.by_user == data.by_user


def test_users_in_no_split_are_named_and_misspelled_splits_too() -> None:
    splits = ["train", "test", "validation", "", "", "train ", "Train", "trian", "odd"]
    told = in_no_split([User(f"u{n}", split=split) for n, split in enumerate(splits)])
    assert "2 of 9 users (such as 'u3') are in no split" in told[0]
    for split, line in zip(["train ", "Train", "trian"], told[1:], strict=False):
        assert f"1 of 9 users (such as 'u{splits.index(split)}') are in split {split!r}" in line
        assert "did you mean 'train'?" in line
    assert "in split 'odd', which is none of test, train, validation" in told[4]
    assert len(told) == 5
    assert in_no_split([User("a", split="odd"), User("b", split="test")], own="odd") == []
    assert in_no_split([User("a"), User("b")]) == []
