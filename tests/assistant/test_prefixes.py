"""The store of prefixes against a naive one, and caches that go on from it against none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conftest import small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.assistant.prefixes import Prefix, Prefixes, common
from fspo.llm.cache import roomy_cache

MODEL = small_model()


def prefix(bytes_: int, tokens: Sequence[int] = ()) -> Prefix:
    half = torch.zeros(bytes_ // 2, dtype=torch.uint8)
    return Prefix(tokens, [(half, torch.zeros(bytes_ - bytes_ // 2, dtype=torch.uint8))])


class Naive:
    """The same by a plain list, the least recently used one first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.kept, self.begun = limit, [], {}

    def find(self, key: str) -> Prefix | None:
        found = [pair for pair in self.kept if pair[0] == key]
        self.kept = [pair for pair in self.kept if pair[0] != key] + found
        self.begun[key] = True
        return found[0][1] if found else None

    def keep(self, key: str, new: Prefix) -> bool:
        if new.size > self.limit or not self.begun[key]:
            return False
        self.kept = [pair for pair in self.kept if pair[0] != key] + [(key, new)]
        while sum(own.size for _, own in self.kept) > self.limit:
            self.kept = self.kept[1:]
        return True

    def forget(self, key: str) -> None:
        self.kept = [pair for pair in self.kept if pair[0] != key]
        self.begun = dict.fromkeys(self.begun, False)


keys = st.sampled_from("abcd")
steps = st.one_of(
    st.tuples(st.just("find"), keys, st.just(0)),
    st.tuples(st.just("keep"), keys, st.integers(0, 60)),
    st.tuples(st.just("forget"), keys, st.just(0)),
)


@settings(deadline=None)
@given(limit=st.integers(0, 120), order=st.lists(steps, max_size=40))
def test_it_is_a_least_recently_used_store(limit: int, order: list[tuple[str, str, int]]) -> None:
    store, naive = Prefixes(limit), Naive(limit)
    tickets = {}
    for step, key, size in order:
        if step == "find":
            found, tickets[key] = store.find(key)
            assert found is naive.find(key)
        elif step == "forget":
            store.forget(key)
            naive.forget(key)
        elif key in tickets:
            new = prefix(size)
            assert store.keep(key, new, tickets[key]) == naive.keep(key, new)
        assert store.size == sum(own.size for _, own in naive.kept) <= limit
        assert len(store) == len(naive.kept)


def test_what_is_read_while_it_is_forgotten_is_not_kept() -> None:
    store = Prefixes(100)
    _, ticket = store.find("a")
    store.forget("a")
    assert not store.keep("a", prefix(10), ticket)
    assert store.keep("a", prefix(10), store.find("a")[1])


def test_one_that_is_too_large_leaves_the_others_alone() -> None:
    store = Prefixes(100)
    for key, size in (("a", 60), ("b", 40), ("c", 101)):
        store.keep(key, prefix(size), store.find(key)[1])
    assert (len(store), store.size) == (2, 100)


@given(one=st.lists(st.integers(0, 2)), other=st.lists(st.integers(0, 2)))
def test_common(one: list[int], other: list[int]) -> None:
    length = common(one, other)
    assert one[:length] == other[:length]
    assert one[: length + 1] != other[: length + 1] or length == min(len(one), len(other))


def read(tokens: Sequence[int], cache: object) -> torch.Tensor:
    with torch.inference_mode():
        return MODEL(torch.tensor([list(tokens)]), past_key_values=cache).logits[0, -1]


def test_several_go_on_from_one_prefix_and_it_stays_as_it_is() -> None:
    tokens = list(range(20, 60))
    cache = roomy_cache(MODEL.config)
    read(tokens, cache)
    kept = Prefix.of(cache, tokens)
    before = [(keys.clone(), values.clone()) for keys, values in kept.layers]
    behind = [kept.cache(MODEL.config, length) for length in (40, 40, 25)] + [cache]
    given_ = [[70, 71], [80], [*tokens[25:30], 90], [99, 98, 97]]
    found = [read(own, going) for own, going in zip(given_, behind, strict=True)]
    again = [read([5], going) for going in behind]  # all of them were there at once
    for own, length, first, second in zip(given_, (40, 40, 25, 40), found, again, strict=True):
        alone = roomy_cache(MODEL.config)
        torch.testing.assert_close(first, read(tokens[:length] + own, alone))
        torch.testing.assert_close(second, read([5], alone))
    for pair, old in zip(kept.layers, before, strict=True):
        for tensor, copy in zip(pair, old, strict=True):
            assert torch.equal(tensor, copy)


def test_its_size_is_that_of_its_tensors_memory() -> None:
    cache = roomy_cache(MODEL.config)
    read(range(20, 60), cache)
    kept = Prefix.of(cache, range(20, 60))
    numbers = 2 * 2 * 2 * 8  # layers, keys and values, heads, width
    assert 4 * numbers * 40 <= kept.size == 4 * numbers * (40 + 128)
