"""Writes answers where a template leaves off, with the user's prefix read only once.

All prompts of one user share what stands before the question: the shots. Its keys and values are
computed once, and each prompt goes on from a copy. An answer ends at the end-of-text token, or
where the template's next heading would begin.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fspo.learning.templates import before_next_heading, restore
from fspo.learning.tree import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def complete(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[Tokens],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> list[str]:
    """Continues every context in one batch.

    Args:
        model: on whatever device it is.
        tokenizer: the model's.
        contexts: token ids; what they have in common at the front is read once.
        max_new_tokens: where an answer is cut off.
        temperature: of sampling; 0 takes the likeliest token.
        top_p: the share of probability that is sampled from.
        seed: the answers depend on it and on nothing else that is random.

    Returns:
        One text for each context, with the template's escapes undone.
    """
    import torch
    from transformers import StoppingCriteriaList, StopStringCriteria

    shared = _shared_length(contexts)
    inputs, mask = _left_padded([c[shared:] for c in contexts], tokenizer, model.device)
    prefix = torch.tensor([contexts[0][:shared]], device=model.device)
    repeated = prefix.expand(len(contexts), -1)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(seed)
        cache = model(input_ids=prefix, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(contexts))
        written = model.generate(
            input_ids=torch.cat([repeated, inputs], 1),
            attention_mask=torch.cat([torch.ones_like(repeated), mask], 1),
            past_key_values=cache,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            stopping_criteria=StoppingCriteriaList([StopStringCriteria(tokenizer, ["\n#"])]),
            **sampling,
        )
    answers = written[:, shared + inputs.shape[1] :]
    return [_clean(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


def _shared_length(contexts: Sequence[Tokens]) -> int:
    """How many leading tokens all contexts have in common, leaving each at least one of its own."""
    shared = len(os.path.commonprefix(list(contexts)))
    return min(shared, min(len(context) for context in contexts) - 1)


def _left_padded(tails: Sequence[Tokens], tokenizer: Any, device: Any) -> tuple[Any, Any]:
    import torch

    width = max(len(tail) for tail in tails)
    ids = [[tokenizer.eos_token_id] * (width - len(tail)) + tail for tail in tails]
    mask = [[0] * (width - len(tail)) + [1] * len(tail) for tail in tails]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _clean(text: str) -> str:
    return restore(before_next_heading(text)).strip()
