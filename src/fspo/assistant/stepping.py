"""Writes with one model for several threads, which take turns at it, a forward pass each.

Nobody holds the model while waiting for anything else: an answer that is read slowly, or that
nobody reads to its end, keeps no other one from going on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fspo.assistant.backend import Reply
from fspo.assistant.pieces import Pieces
from fspo.assistant.prefixes import Prefix, Prefixes
from fspo.assistant.turns import Turns
from fspo.llm.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_COLDEST = 1e-5  # a lower temperature takes the likeliest token: dividing by it would overflow


@dataclass(frozen=True)
class Context:
    """The token ids that lead up to an answer.

    Attributes:
        tokens: the token ids, at least one.
        key: whose prefix it begins with; "" for nobody's.
        prefix: how many tokens of that are to be kept for the next time, fewer than all.
    """

    tokens: Sequence[int]
    key: str = ""
    prefix: int = 0


class Stepper:
    """A model with its tokenizer, and the prefixes that it has read."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        turns: Turns,
        prefixes: Prefixes,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Takes the model as it is.

        Args:
            model: a causal language model of transformers, with or without an adapter.
            tokenizer: the model's; it decodes, and nobody else may encode with it meanwhile.
            turns: one is taken for each forward pass; all that work with these weights share them.
            prefixes: where prefixes are kept, if the model can go on from them: one whose layers
                see only a window of the text drops what it has left behind.
            around: entered for each pass, such as the model's `disable_adapter`.
        """
        from fspo.llm.cache import RoomyLayer, roomy_cache
        from fspo.llm.writing import BATCH, way_of

        self._model, self._tokenizer, self._turns = model, tokenizer, turns
        self._prefixes, self._around = prefixes, around
        self._way = way_of(model)
        layers = roomy_cache(model.config).layers
        self.keeps = self._way == BATCH and all(type(layer) is RoomyLayer for layer in layers)
        self._ends = _ends(model, tokenizer)

    def reply(self, context: Context, sampling: Sampling, templated: bool = True) -> Reply:
        """An answer behind `context`, written as its pieces are asked for; see `pieces`."""
        reply = Reply(iter(()), prompt_tokens=len(context.tokens))
        reply.pieces = self._write(reply, context, sampling, Pieces(sampling.stop, templated))
        return reply

    def _write(
        self, reply: Reply, context: Context, sampling: Sampling, pieces: Pieces
    ) -> Iterator[str]:
        sampler = _sampler(sampling, self._model.device)
        written: list[int] = []
        text = ""
        logits, cache, reply.cached_tokens = self._read(context)
        while (token := int(sampler.draw(logits))) not in self._ends:
            written.append(token)
            reply.completion_tokens = len(written)
            text = self._decode(written)
            if piece := pieces.add(text):
                yield piece
            if pieces.ended:
                return
            if len(written) >= sampling.max_tokens:
                reply.finish_reason = "length"
                break
            logits = self._forward([token], cache)
        if piece := pieces.rest(text):
            yield piece

    def _decode(self, tokens: Sequence[int]) -> str:
        # Without a clean-up, which changes what stands before the newest token.
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _read(self, context: Context) -> tuple[Tensor, Any, int]:
        """The logits behind a context, its cache, and how many of its tokens were known."""
        from fspo.llm.cache import roomy_cache
        from fspo.llm.writing import BATCH, Alone

        config, tokens, prefix = self._model.config, context.tokens, context.prefix
        if not (self.keeps and context.key and prefix):
            cache = roomy_cache(config) if self._way == BATCH else Alone(self._model, self._way)
            return self._forward(tokens, cache), cache, 0
        held, ticket = self._prefixes.find(context.key)
        known = min(held.shared(tokens), len(tokens) - 1) if held else 0
        cache = held.cache(config, known) if held and known else roomy_cache(config)
        if known < prefix:
            self._forward(tokens[known:prefix], cache)
            self._prefixes.keep(context.key, Prefix.of(cache, tokens[:prefix]), ticket)
        return self._forward(tokens[max(known, prefix) :], cache), cache, known

    def _forward(self, tokens: Sequence[int], cache: Any) -> Tensor:
        """Reads on; float (1, vocabulary): the logits behind the last of `tokens`."""
        import torch

        from fspo.llm.writing import Alone

        with self._turns.of_answer(), torch.inference_mode(), self._around():
            if isinstance(cache, Alone):
                return cache.read(tokens)
            start = cache.get_seq_length()
            ids = torch.tensor([list(tokens)], device=self._model.device)
            positions = torch.arange(start, start + len(tokens), device=ids.device)[None]
            output = self._model(
                input_ids=ids,
                attention_mask=torch.ones(1, start + len(tokens), dtype=torch.long).to(ids),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits: Tensor = output.logits[:, -1]
        return logits


def _sampler(sampling: Sampling, device: Any) -> Any:
    from fspo.llm.sampling import Sampler

    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    temperature = sampling.temperature if sampling.temperature >= _COLDEST else 0
    return Sampler(temperature, max(sampling.top_p, 1e-9), seed, device)


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer: the tokenizer's, and what the model's settings add."""
    configured = model.generation_config.eos_token_id
    more = configured if isinstance(configured, list) else [configured]
    return {tokenizer.eos_token_id, *more} - {None}
