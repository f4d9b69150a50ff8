"""Writes answers where a template leaves off, with each user's prefix read only once.

All prompts of one user share what stands before the question: the shots. Its keys and values are
computed once, and each prompt goes on from a copy. Several users are answered side by side: a step
of a few rows takes a CPU nearly as long as one of many. An answer ends at the end-of-text token, or
where the template's next heading would begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fspo.learning.templates import before_next_heading, restore
from fspo.learning.tree_builder import Tokens
from fspo.llm.local import LocalModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from fspo.llm.sampling import Sampling


def complete(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[Sequence[Tokens]],
    sampling: Sampling,
) -> list[list[str]]:
    """Continues every context in one batch.

    Args:
        model: a causal language model, with or without an adapter.
        tokenizer: the model's.
        contexts: for each user, token ids; what a user's have in common at the front is read once.
        sampling: with a seed; the answers depend on nothing else that is random.

    Returns:
        For each user, one text for each context, with the template's escapes undone.
    """
    assert sampling.seed is not None
    written = LocalModel(model, tokenizer).continue_all(
        contexts,
        max_new_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=lambda text: before_next_heading(text) != text,
    )
    return [[restore(before_next_heading(text)).strip() for text in group] for group in written]
