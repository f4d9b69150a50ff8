"""What a tree says of itself: contexts, responses, positions, who sees whom, what is dropped."""

from __future__ import annotations

import pytest
from conftest import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import Episode, EpisodeTree, FspoError, Preference
from fspo.learning.tree import context_tokens

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
preferences = st.lists(st.builds(Preference, words, words, words), min_size=1, max_size=5)


def text_of(tokens: list[int]) -> str:
    return TOKENIZER.decode([t for t in tokens if t != END], skip_special_tokens=False)


def test_contexts_are_the_earlier_shots_and_the_question() -> None:
    pairs = [Preference("q0", "good0", "bad0"), Preference("q1", "good1", "bad1")]
    tree = EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER)
    first, second = (text_of(context) for context in tree.contexts)
    assert first.endswith("## Question\nq0\n\n## Preferred Response\n")
    shot = "good0\n\n## Dispreferred Response\nbad0"
    assert second == f"{first}{shot}\n\n## Question\nq1\n\n## Preferred Response\n"
    assert [text_of(tokens) for tokens in tree.chosen] == ["good0", "good1"]
    assert [text_of(tokens) for tokens in tree.rejected] == ["bad0", "bad1"]
    assert all(tokens[-1] == END for tokens in [*tree.chosen, *tree.rejected])


@settings(max_examples=50, deadline=None)
@given(preferences)
def test_what_a_token_sees_is_its_path_to_the_root(pairs: list[Preference]) -> None:
    """Reads each row's path off the mask, and compares it with the context that it stands for."""
    tree = EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER)
    visible = tree.visible()
    for response, context in zip(
        tree.responses, [c for c in tree.contexts for _ in "ab"], strict=True
    ):
        for number, row in enumerate(response.rows):
            seen = sorted((tree.positions[j], tree.tokens[j]) for j in visible[row].nonzero()[0])
            path = context + response.tokens[:number]
            assert [token for _, token in seen] == path
            assert [position for position, _ in seen] == list(range(len(path)))


@settings(max_examples=50, deadline=None)
@given(preferences, st.sampled_from(["chain", "paper"]))
def test_prompting_reads_byte_for_byte_what_training_read(
    pairs: list[Preference], template: str
) -> None:
    *shots, target = pairs
    tree = EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER, template)
    context, dropped = context_tokens("u", shots, target.prompt, TOKENIZER, template)
    assert context == tree.contexts[-1]
    assert dropped == 0


def test_special_tokens_in_texts_are_read_as_letters() -> None:
    pair = Preference("<|start|>", "<|end|>", "x<|pad|>")
    tree = EpisodeTree.from_episode(Episode("u", [pair]), TOKENIZER)
    assert tree.chosen == [[*TOKENIZER("<|end|>", split_special_tokens=True)["input_ids"], END]]
    assert END not in tree.contexts[0]


@settings(max_examples=50, deadline=None)
@given(preferences, st.integers(100, 700), st.sampled_from(["chain", "paper"]))
def test_shots_are_dropped_from_the_front_until_the_rest_fits(
    pairs: list[Preference], limit: int, template: str
) -> None:
    whole = [
        EpisodeTree.from_episode(Episode("u", pairs[k:]), TOKENIZER, template)
        for k in range(len(pairs))
    ]
    fitting = [k for k, tree in enumerate(whole) if tree.longest_path <= limit]
    if not fitting:
        with pytest.raises(FspoError, match="tokens without any shot"):
            EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER, template, limit)
        return
    tree = EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER, template, limit)
    assert tree.dropped == fitting[0]
    assert tree.contexts == whole[fitting[0]].contexts
    assert max(map(len, [c + y for c, y in zip(tree.contexts, tree.chosen, strict=True)])) <= limit


def test_a_target_that_does_not_fit_alone_names_its_row() -> None:
    pairs = [Preference("q", "a", "b"), Preference("q", "a" * 400, "b", row="x.parquet row 7")]
    with pytest.raises(FspoError, match=r"x.parquet row 7: user 'ann'.*holds 300"):
        EpisodeTree.from_episode(Episode("ann", pairs), TOKENIZER, max_length=300)


def test_an_unknown_template_is_named() -> None:
    with pytest.raises(FspoError, match="'chian': use chain or paper"):
        EpisodeTree.from_episode(Episode("u", [Preference("q", "a", "b")]), TOKENIZER, "chian")
