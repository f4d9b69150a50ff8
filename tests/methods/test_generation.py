"""Generation with a shared prefix against the plain way: one context at a time, no cache."""

from __future__ import annotations

import torch
from conftest import byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fspo.llm.sampling import Sampling
from fspo.methods.generation import complete

TOKENIZER = byte_tokenizer()
MODEL = small_model()


def greedily(context: list[int], count: int) -> list[int]:
    """The likeliest next token, again and again, reading everything anew each time."""
    tokens = list(context)
    with torch.inference_mode():
        for _ in range(count):
            token = int(MODEL(torch.tensor([tokens])).logits[0, -1].argmax())
            if token == TOKENIZER.eos_token_id:
                break
            tokens.append(token)
    return tokens[len(context) :]


tokens = st.integers(3, 258)
tails = st.lists(st.lists(tokens, min_size=1, max_size=9), min_size=1, max_size=4)
users = st.lists(st.tuples(st.lists(tokens, max_size=20), tails), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(users=users)
def test_equals_reading_every_context_anew(
    users: list[tuple[list[int], list[list[int]]]],
) -> None:
    contexts = [[prefix + tail for tail in tails] for prefix, tails in users]
    together = complete(MODEL, TOKENIZER, contexts, Sampling(6, 0, 1, seed=0))
    for own, texts in zip(contexts, together, strict=True):
        for context, text in zip(own, texts, strict=True):
            alone = TOKENIZER.decode(greedily(context, 6), skip_special_tokens=True)
            if "#" not in alone and "\\" not in alone:
                assert text == alone.strip()


def test_the_seed_decides_what_is_sampled() -> None:
    def sample(seed: int) -> list[list[str]]:
        return complete(MODEL, TOKENIZER, [[[5, 6], [5, 7]]], Sampling(12, 1, 1, seed=seed))

    state = torch.random.get_rng_state()
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert torch.equal(torch.random.get_rng_state(), state)
