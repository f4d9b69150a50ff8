"""Reads answers into vectors: the hidden state at an answer's last token, given its prompt alone.

No shot stands in the context, so an answer's vector is the same whoever is asked about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fspo.learning.scoring import response_ends
from fspo.learning.templates import CHAIN
from fspo.learning.tree import EpisodeTree
from fspo.preferences.records import Preference

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

# The answers to a prompt share its reading, but the mask is as large as all of them together.
_ANSWERS_IN_A_TREE = 4
_TREES_AT_ONCE = 8


class Asked(NamedTuple):
    """An answer that is to be read, the prompt that it answers, and whose it is, for messages."""

    user_id: str
    prompt: str
    answer: str


Read = Callable[[Sequence[Asked]], "Tensor"]  # answers to float32 (answers, width)


class CachedReader:
    """Reads answers with a model that does not learn, and each different answer only once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._states: dict[tuple[str, str], Tensor] = {}

    def __call__(self, asked: Sequence[Asked]) -> Tensor:
        """Float32 (answers, width), without gradients."""
        import torch

        texts = [(one.prompt, one.answer) for one in asked]
        new = {t: one for t, one in zip(texts, asked, strict=True) if t not in self._states}
        if new:
            with torch.no_grad():
                self._states.update(zip(new, self._read(list(new.values())), strict=True))
        return torch.stack([self._states[text] for text in texts])


def both_answers(user_id: str, preferences: Iterable[Preference]) -> list[Asked]:
    """Chosen 0, rejected 0, chosen 1, ..."""
    return [
        Asked(user_id, p.prompt, answer) for p in preferences for answer in (p.chosen, p.rejected)
    ]


def embed(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Asked],
    template: str = CHAIN,
    max_length: int | None = None,
) -> Tensor:
    """The last hidden state at each answer's last token; an answer is read once, whoever asks.

    Args:
        model: a causal language model, with or without an adapter; gradients flow to whatever of it
            requires them.
        tokenizer: the model's.
        asked: at least one.
        template: how a prompt and its answer are written: as an episode without shots.
        max_length: as in `EpisodeTree.from_episode`.

    Returns:
        Float32 (answers, width).

    Raises:
        FspoError: if a prompt and its answer do not fit the context.
    """
    import torch

    forks = [(fork, _tree(fork, tokenizer, template, max_length)) for fork in _by_prompt(asked)]
    forks.sort(key=lambda fork: len(fork[1]))  # so that little is padded
    states = []
    for start in range(0, len(forks), _TREES_AT_ONCE):
        trees = [tree for _, tree in forks[start : start + _TREES_AT_ONCE]]
        states += response_ends(model, trees)
    read = [(one.prompt, one.answer) for fork, _ in forks for one in fork]
    place = {text: row for row, text in enumerate(read)}
    return torch.cat(states).float()[[place[one.prompt, one.answer] for one in asked]]


def _by_prompt(asked: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Different answers to the same prompt, a few at a time."""
    by_prompt: dict[str, dict[str, Asked]] = {}
    for one in asked:
        by_prompt.setdefault(one.prompt, {}).setdefault(one.answer, one)
    for own in by_prompt.values():
        answers = list(own.values())
        for start in range(0, len(answers), _ANSWERS_IN_A_TREE):
            yield answers[start : start + _ANSWERS_IN_A_TREE]


def _tree(
    fork: Sequence[Asked],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_length: int | None,
) -> EpisodeTree:
    first = fork[0]
    answers = [one.answer for one in fork]
    return EpisodeTree.from_candidates(
        first.user_id, [], first.prompt, answers, tokenizer, template, max_length
    )
