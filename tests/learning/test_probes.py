"""Probes: the same pairs after several numbers of shots in one tree, as if asked one by one."""

from __future__ import annotations

import pytest
import torch
from conftest import FAMILIES, byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import Episode, EpisodeTree, FspoError, Preference, completion_logps
from fspo.learning.probes import probe_trees
from fspo.learning.scoring import response_logps

texts = st.text(min_size=1, max_size=6) | st.sampled_from(["# Task", "\n## Question\nq", "é"])
# Few prompts, so that a question often comes twice running.
pairs = st.builds(Preference, st.sampled_from(["", "q", "r?"]), texts, texts)


def one_by_one(model: torch.nn.Module, shots: list[Preference], target: Preference) -> torch.Tensor:
    tree = EpisodeTree.from_episode(Episode("u", [*shots, target]), byte_tokenizer())
    ((chosen, rejected),) = completion_logps(model, [tree])
    return torch.stack([chosen[-1], rejected[-1]])


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(st.lists(pairs, max_size=4), st.lists(pairs, min_size=1, max_size=3), st.data())
def test_probes_equal_episodes(
    family: str, shots: list[Preference], targets: list[Preference], data: st.DataObject
) -> None:
    counts = sorted(data.draw(st.sets(st.integers(0, len(shots)), min_size=1)))
    model = small_model(family)
    with torch.no_grad():
        trees = probe_trees("u", shots, targets, counts, byte_tokenizer())
        found = torch.cat([torch.cat(response_logps(model, [tree])) for tree in trees])
        expected = [one_by_one(model, shots[:count], t) for count in counts for t in targets]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("most", [1, 150, 400])
def test_many_branches_are_spread_over_trees(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fspo.learning.probes._BRANCHES", most)
    shots = [Preference(f"q{k}", "good", "bad") for k in range(4)]
    targets = [Preference("new", "one", "two"), Preference("q3", "three", "four")]
    counts, model = [0, 1, 2, 4], small_model()
    trees = probe_trees("u", shots, targets, counts, byte_tokenizer())
    assert 1 < len(trees) <= 3
    with torch.no_grad():
        found = torch.cat([torch.cat(response_logps(model, [tree])) for tree in trees])
        expected = [one_by_one(model, shots[:count], t) for count in counts for t in targets]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_the_chain_is_read_once_and_the_paper_layout_pair_by_pair() -> None:
    shots = [Preference(f"q{k}", "good", "bad") for k in range(4)]
    targets = [Preference("new", "one", "two"), Preference("newer", "three", "four")]
    (tree,) = probe_trees("u", shots, targets, [0, 2, 4], byte_tokenizer())
    assert len(tree.responses) == 3 * 2 * 2
    assert len(probe_trees("u", shots, targets, [0, 4], byte_tokenizer(), "paper")) == 2 * 2


def test_a_question_that_the_first_shot_asks_too_is_not_written_for_each_branch() -> None:
    question = "What do you think? " * 5
    shots, targets = [Preference(question, "a", "b")], [Preference(question, "c", "d")] * 3
    (same,) = probe_trees("u", shots, targets, [0, 1], byte_tokenizer())
    others = [Preference(question[::-1], "c", "d")] * 3
    (other,) = probe_trees("u", shots, others, [0, 1], byte_tokenizer())
    assert len(other) - len(same) > 6 * len(question)
    model = small_model()
    with torch.no_grad():
        (found,) = response_logps(model, [same])
        expected = [one_by_one(model, shots[:count], t) for count in (0, 1) for t in targets]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_shots_that_do_not_fit_are_dropped_and_a_target_that_does_not_is_named() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 400
    shots = [Preference(f"q{k}", "g" * 60, "b" * 60) for k in range(4)]
    trees = probe_trees("u", shots, [Preference("new", "one", "two")], [0, 1, 4], tokenizer)
    assert [tree.dropped for tree in trees] == [0, 0, 3]
    with pytest.raises(FspoError, match="without any shot"):
        probe_trees("u", shots, [Preference("q", "a" * 999, "b")], [0, 4], tokenizer)
