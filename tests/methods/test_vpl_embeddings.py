"""Vectors of answers against a plain forward pass over each prompt and answer on their own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from conftest import FAMILIES, byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo import FspoError, Preference
from fspo.learning.templates import blocks, neutralize
from fspo.learning.tree_builder import Encoder
from fspo.methods.vpl.embeddings import Asked, CachedReader, both_answers, embed

TOKENIZER = byte_tokenizer()
MODELS = {family: small_model(family) for family in FAMILIES}

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["# Task", "<|end|>"])
questions = st.sampled_from(["", "Why?"]) | texts
asked = st.lists(st.builds(Asked, st.just("u"), questions, texts), min_size=1, max_size=12)


def separately(model: torch.nn.Module, one: Asked, template: str) -> torch.Tensor:
    read = Encoder(TOKENIZER)
    (block,) = blocks([Preference(one.prompt, "", "")], template)
    lead, answer = read.texts([block.lead, neutralize(one.answer)])
    tokens = torch.tensor([[*read.start, *lead, *answer]])
    return model(tokens, output_hidden_states=True).hidden_states[-1][0, -1]


@pytest.mark.parametrize("template", ["chain", "paper"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(asked=asked)
def test_equals_reading_every_answer_on_its_own(
    family: str, template: str, asked: list[Asked]
) -> None:
    with torch.no_grad():
        found = embed(MODELS[family], TOKENIZER, asked, template)
        expected = torch.stack([separately(MODELS[family], one, template) for one in asked])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_is_remembered_is_read_once() -> None:
    asked = [Asked(user, prompt, answer) for user in "ab" for prompt in "pq" for answer in "xyx"]
    seen: list[Asked] = []

    def read(some: Sequence[Asked]) -> torch.Tensor:
        seen.extend(some)
        return embed(MODELS["llama"], TOKENIZER, some)

    remembered = CachedReader(read)
    found = torch.cat([remembered(asked[:4]), remembered(asked[4:])])
    torch.testing.assert_close(found, read(asked), atol=1e-5, rtol=1e-5)
    assert not found.requires_grad
    assert len(seen) - len(asked) == 4  # different prompts and answers


def test_both_answers_of_each_preference_in_order() -> None:
    own = both_answers("u", [Preference("p", "a", "b"), Preference("q", "c", "d")])
    assert own == [
        Asked("u", "p", "a"), Asked("u", "p", "b"), Asked("u", "q", "c"), Asked("u", "q", "d")
    ]  # fmt: skip


def test_an_answer_that_does_not_fit_is_a_fault_of_its_user() -> None:
    with pytest.raises(FspoError, match=r"user 'zoe': the prompt takes .* the context holds 4096"):
        embed(MODELS["llama"], TOKENIZER, [Asked("zoe", "?", "a" * 5000)])
