"""Reads people's texts as the letters that they are made of.

A text may hold what looks like a model's own marker, such as `<|im_end|>` or `<think>`. Such
markers come from us alone (a chat template, a response's end): in a text they are letters. A
tokenizer can be told so of its special tokens, and of other added tokens it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]

_READER = "_fspo_letters"  # where a tokenizer keeps its reader
_SPACE = "\u2581"  # how some vocabularies write a space


def letters(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Tokens]:
    """Returns the token ids of each text, in which no added token is found.

    Added tokens of white space alone are no markers, and are read as ever.
    """
    if not texts:  # which some tokenizers do not take
        return []
    reader: _Reader | None = vars(tokenizer).get(_READER)
    if reader is None:
        reader = vars(tokenizer)[_READER] = _Reader(tokenizer)
    return reader.read(texts)


def start_of(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Returns what a tokenizer puts before a text: a beginning-of-text token, or nothing.

    What some put behind it, too, is not for every text.
    """
    whole: Tokens = tokenizer("a")["input_ids"]
    text: Tokens = tokenizer("a", add_special_tokens=False)["input_ids"]
    places = range(len(whole) - len(text) + 1)
    return next((whole[:at] for at in places if whole[at : at + len(text)] == text), [])


class _Reader:
    """Reads letters with one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend: Any = None  # reads instead, where the tokenizer would find markers
        self._spelled: dict[int, Tokens] = {}
        if not tokenizer.is_fast:  # those in Python split no added token if they are told so
            return
        markers = {
            number: token
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.content.replace(_SPACE, " ").strip()
        }
        if not all(token.special for token in markers.values()):
            self._backend = _without_markers(tokenizer.backend_tokenizer, markers)
        # A vocabulary may know a marker as a word, and make it of its letters again.
        vocabulary = tokenizer.get_vocab()
        found = self._read([token.content for token in markers.values()])
        for (number, token), ids in zip(markers.items(), found, strict=True):
            if number in ids and number != tokenizer.unk_token_id:
                own = [vocabulary.get(sign, tokenizer.unk_token_id) for sign in token.content]
                self._spelled[number] = [one for one in own if one is not None]

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        found = self._read(texts)
        if not self._spelled:
            return found
        return [[one for t in ids for one in self._spelled.get(t, [t])] for ids in found]

    def _read(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        if self._backend is not None:
            batch = self._backend.encode_batch(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in batch]
        ids: list[Tokens] = self._tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return ids


def _without_markers(backend: Any, markers: dict[int, Any]) -> Any:
    """A tokenizer with the same vocabulary and ids, to which all markers are special tokens."""
    from tokenizers import AddedToken, Tokenizer

    own = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer"):
        if getattr(backend, part) is not None:
            setattr(own, part, getattr(backend, part))
    for number, token in sorted(backend.get_added_tokens_decoder().items()):
        if number in markers:
            own.add_special_tokens([AddedToken(token.content, special=True)])
        else:
            own.add_tokens([token])
    own.encode_special_tokens = True  # as any other text
    return own
