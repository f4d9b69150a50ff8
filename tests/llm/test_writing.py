"""Models of every kind write what their own forward pass makes likeliest."""

from __future__ import annotations

import pytest
import torch
from architectures import small_architecture
from conftest import byte_tokenizer

from fspo.assistant.prefixes import Prefixes
from fspo.assistant.stepping import Context, Stepper
from fspo.assistant.turns import Turns
from fspo.llm.local import LocalModel
from fspo.llm.writing import ALONE, ANEW, BATCH, way_of

# Longer than windows are, of unlike lengths, and some begin alike.
GROUPS = [
    [[1, *range(10, 24), 30, 31], [1, *range(10, 24), 40, 41, 42, 43, 44, 45]],
    [[1, 50, 51, 52, 53, 60], [1, 50, 51, 52, 53]],
]
WAYS = {
    "llama": BATCH,
    "gemma2": BATCH,
    "granite": BATCH,
    "qwen3_5_text": ALONE,
    "lfm2": ALONE,
    "mamba": ALONE,
    "mamba2": ALONE,
    "jamba": ANEW,
    "gpt_neo": ALONE,
    "rwkv": ANEW,
}


def likeliest(model: torch.nn.Module, prompt: list[int], count: int = 8) -> list[int]:
    """By the model's own forward pass of the whole, token after token."""
    ids = list(prompt)
    for _ in range(count):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
        if (token := int(logits[0, -1].argmax())) == 0:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_written_is_what_the_model_makes_likeliest(kind: str) -> None:
    model, tokenizer = small_architecture(kind), byte_tokenizer()
    assert way_of(model) == WAYS[kind]
    local = LocalModel(model, tokenizer)
    with torch.no_grad():
        own = [[likeliest(model, prompt) for prompt in group] for group in GROUPS]
    expected = [[tokenizer.decode(ids, skip_special_tokens=True) for ids in group] for group in own]
    assert local.continue_all(GROUPS, max_new_tokens=8, temperature=0) == expected
    with torch.no_grad():
        for prompt, found in zip(GROUPS[0], local.next_logprobs(GROUPS[0], [5, 6]), strict=True):
            logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
            assert found == pytest.approx(logits.log_softmax(-1)[[5, 6]].tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", WAYS)
def test_the_assistant_writes_the_same(kind: str) -> None:
    model, tokenizer = small_architecture(kind), byte_tokenizer()
    stepper = Stepper(model, tokenizer, Turns(), Prefixes(2**20))
    with torch.no_grad():
        for prompt in GROUPS[0]:
            context = Context(prompt, key="k", prefix=5)
            logits, cache, _ = stepper._read(context)
            found = []
            while len(found) < 8 and (token := int(logits.argmax())) != 0:
                found.append(token)
                logits = stepper._forward([token], cache)
            assert found == likeliest(model, prompt)
