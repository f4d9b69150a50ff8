"""How trees are grouped into forward passes."""

from __future__ import annotations

from itertools import pairwise

from conftest import byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from fspo import EpisodeTree
from fspo.learning.batch import passes

TOKENIZER = byte_tokenizer()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(16, 120))
def test_every_tree_is_read_once_and_passes_are_full(lengths: list[int], tokens: int) -> None:
    trees = [EpisodeTree.from_context([1] * n, ["a", "b"], TOKENIZER) for n in lengths]
    groups = passes(trees, tokens)
    assert sorted(map(id, trees)) == sorted(id(tree) for group in groups for tree in group)
    for group in groups:
        assert len(group) == 1 or sum(map(len, group)) <= tokens
    for group, following in pairwise(groups):
        # The next one would not have fitted; trees of like length are together.
        assert sum(map(len, group)) + len(following[0]) > tokens
        assert len(group[-1]) <= len(following[0])
