"""Asks a model on this machine: many conversations at once, sampled reproducibly from a seed.

It knows nothing about users or preferences. What is in a conversation is data: a title such as
`<|im_end|>` is read as those ten characters, never as the token that ends a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fspo.console import track
from fspo.errors import FspoError
from fspo.letters import letters, start_of
from fspo.llm.rendering import filled, rendered_slots
from fspo.llm.sampling import Sampler
from fspo.llm.writing import BATCH, Alone, way_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Conversation = Sequence[Mapping[str, str]]

_ROLES = ("system", "user", "assistant")
_LEAVING = 0.8  # the share of a batch that is still going when the others leave it


class LocalModel:
    """A causal language model and its tokenizer, as something to talk to."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def chat(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int = 32,
        description: str = "",
    ) -> list[str]:
        """Writes the next turn of each conversation.

        Args:
            conversations: each a list of messages with `role` and `content`.
            max_new_tokens: the longest answer, in tokens; a longer one is cut.
            temperature: of sampling; 0 takes the likeliest token each time.
            top_p: samples from the likeliest tokens that hold this share of the probability (at
                most 512 of them); 1 samples from all.
            seed: what the sampling depends on, along with the conversations and `batch_size`.
            batch_size: how many are written at once.
            description: what progress is shown as; with none, no progress is shown.

        Returns:
            The answers, in the order of the conversations, without special tokens.

        Raises:
            FspoError: if a conversation does not fit the model's window along with the answer, or
                a role is unknown.
        """
        prompts = [self.tokens(conversation) for conversation in conversations]
        self._check_window(prompts, max_new_tokens)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
        shown = track(batches, description, len(batches)) if description else batches
        answers = [""] * len(prompts)
        for number, batch in enumerate(shown):
            written = self._generate(
                [[prompts[index] for index in batch]],
                max_new_tokens,
                Sampler(temperature, top_p, _batch_seed(seed, number), self.model.device),
            )
            for index, tokens in zip(batch, written, strict=True):
                answers[index] = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return answers

    def tokens(self, conversation: Conversation) -> list[int]:
        """The conversation as the model reads it, up to where its answer begins.

        The template is rendered around slots, and what goes into them is tokenized on its own, as
        letters. Without a chat template it is the contents, line after line.
        Where the template knows no system role, or wants roles to alternate, what is said to the
        system stands before what the user says next, and messages of one role are one.

        Raises:
            FspoError: if a role is unknown, or the template does not take the conversation, or does
                not come to an end.
        """
        for message in conversation:
            if message["role"] not in _ROLES:
                raise FspoError(f"role {message['role']!r} is unknown: use {', '.join(_ROLES)}")
        contents = [message["content"] for message in conversation]
        if not self.tokenizer.chat_template:
            [text] = letters(self.tokenizer, ["\n\n".join(contents) + "\n\n"])
            return [*start_of(self.tokenizer), *text]
        rendered = rendered_slots(self.tokenizer, [message["role"] for message in conversation])
        return filled(self.tokenizer, rendered, contents)

    def continue_all(
        self,
        groups: Sequence[Sequence[list[int]]],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """Writes on from token ids, in one batch; what a group's prompts begin with is read once.

        Args:
            groups: of prompts, which are token ids; `tokens` makes them from conversations.
            max_new_tokens: the longest answer, in tokens; a longer one is cut.
            temperature: as in `chat`.
            top_p: as in `chat`.
            seed: what the sampling depends on, along with the groups.
            stop: whether the text written so far is enough; asked after every token.

        Returns:
            For each group, what was written behind each of its prompts, without special tokens.

        Raises:
            FspoError: if a prompt and its answer do not fit the model's window.
        """
        self._check_window([prompt for group in groups for prompt in group], max_new_tokens)
        sampler = Sampler(temperature, top_p, seed, self.model.device)
        written = iter(self._generate(groups, max_new_tokens, sampler, stop))
        return [
            [self.tokenizer.decode(next(written), skip_special_tokens=True) for _ in group]
            for group in groups
        ]

    def next_logprobs(
        self, prompts: Sequence[list[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """The log-probabilities (nats) of single tokens right behind each of `prompts`.

        Args:
            prompts: token ids; read in one batch, and what they all begin with is read once.
            tokens: which tokens are asked about.

        Returns:
            For each prompt, one value for each of `tokens`.

        Raises:
            FspoError: if a prompt does not fit the model's window.
        """
        import torch

        self._check_window(prompts, 1)
        with torch.inference_mode():
            if way_of(self.model) == BATCH:
                logits, _, _ = self.read([prompts])
            else:
                way = way_of(self.model)
                logits = torch.cat([Alone(self.model, way).read(prompt) for prompt in prompts])
            logps = torch.log_softmax(logits.float(), dim=-1)[:, list(tokens)]
        return cast("list[list[float]]", logps.tolist())

    def _check_window(self, prompts: Sequence[list[int]], max_new_tokens: int) -> None:
        window = self.tokenizer.model_max_length
        longest = max(map(len, prompts), default=0)
        if longest + max_new_tokens > window:
            raise FspoError(
                f"a conversation of {longest} tokens and an answer of {max_new_tokens} do not fit "
                f"this model's window of {window} tokens. Shorten the conversation (fewer or "
                "shorter shots) or ask for shorter answers."
            )

    def _generate(
        self,
        groups: Sequence[Sequence[list[int]]],
        max_new_tokens: int,
        sampler: Sampler,
        stop: Callable[[str], bool] | None = None,
    ) -> list[list[int]]:
        """One batch, token by token; rows that have ended leave it, several at a time."""
        import torch

        ends = self._ends()
        if way_of(self.model) != BATCH:
            prompts = [prompt for group in groups for prompt in group]
            return [self._write(prompt, max_new_tokens, sampler, stop) for prompt in prompts]
        written: list[list[int]] = [[] for group in groups for _ in group]
        rows = list(range(len(written)))  # of the batch
        going = set(rows)
        with torch.inference_mode():
            logits, cache, mask = self.read(groups)
            for step in range(1, max_new_tokens + 1):
                tokens = sampler.draw(logits)
                for row, token in zip(rows, tokens.tolist(), strict=True):
                    if token in ends:
                        going.discard(row)
                    elif row in going:
                        written[row].append(token)
                        if stop and stop(self.tokenizer.decode(written[row])):
                            going.discard(row)
                if not going or step == max_new_tokens:
                    break
                if len(going) <= _LEAVING * len(rows):
                    places = [place for place, row in enumerate(rows) if row in going]
                    chosen = torch.tensor(places, device=tokens.device)
                    cache.batch_select_indices(chosen)
                    tokens, mask = tokens[chosen], mask[chosen]
                    rows = [rows[place] for place in places]
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                logits = self.forward(tokens[:, None], mask, cache)
        return written

    def _write(
        self,
        prompt: list[int],
        max_new_tokens: int,
        sampler: Sampler,
        stop: Callable[[str], bool] | None,
    ) -> list[int]:
        """One conversation's answer, read by itself."""
        import torch

        ends, written = self._ends(), list[int]()
        with torch.inference_mode():
            reading = Alone(self.model, way_of(self.model))
            new = prompt
            while len(written) < max_new_tokens:
                token = int(sampler.draw(reading.read(new)))
                if token in ends:
                    break
                new = [token]
                written += new
                if stop and stop(self.tokenizer.decode(written)):
                    break
        return written

    def read(self, groups: Sequence[Sequence[list[int]]]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Reads the prompts: what a group's all begin with once, then the rest of each.

        Every row is padded twice on the left, before what its group shares and before the rest.

        Returns:
            The logits of the next tokens, the cache, and which of its places hold a token.
        """
        import torch

        openings = self._openings(groups)
        cache = self._read_openings(openings, [len(group) for group in groups])
        room = max(map(len, openings))
        rests = [
            (len(opening), prompt[len(opening) :])
            for opening, group in zip(openings, groups, strict=True)
            for prompt in group
        ]
        width = max(len(rest) for _, rest in rests)
        tokens = torch.zeros(len(rests), width, dtype=torch.long, device=self.model.device)
        mask = torch.zeros(len(rests), room + width, dtype=torch.long, device=tokens.device)
        for row, (shared, rest) in enumerate(rests):
            mask[row, room - shared : room] = 1
            mask[row, room + width - len(rest) :] = 1
            tokens[row, width - len(rest) :] = torch.tensor(rest)
        return self.forward(tokens, mask, cache), cache, mask

    def _openings(self, groups: Sequence[Sequence[list[int]]]) -> list[list[int]]:
        """Returns what each group's prompts begin with, at least a token less than the shortest."""
        from fspo.llm.cache import roomy_cache

        shared = [min(_shared_prefix(group), min(map(len, group)) - 1) for group in groups]
        # A window counts places, and padding inside it would take some.
        windowed = any(
            getattr(layer, "is_sliding", False) for layer in roomy_cache(self.model.config).layers
        )
        if windowed or not all(shared):
            return [[] for _ in groups]
        return [group[0][:length] for group, length in zip(groups, shared, strict=True)]

    def _read_openings(self, openings: Sequence[list[int]], repeats: Sequence[int]) -> Any:
        """A cache in which each opening, which is read once, stands in so many rows."""
        import torch

        from fspo.llm.cache import joined, roomy_cache

        caches = []
        for opening in filter(None, openings):
            caches.append(roomy_cache(self.model.config))
            tokens = torch.tensor([opening], device=self.model.device)
            self.forward(tokens, torch.ones_like(tokens), caches[-1])
        return joined(self.model.config, caches, repeats)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """The logits of the next tokens; `mask` says which places hold one, `tokens`' included."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cast("torch.Tensor", output.logits[:, -1])

    def _ends(self) -> set[int]:
        """The tokens that end an answer: the tokenizer's, and what the model's settings add."""
        configured = self.model.generation_config.eos_token_id
        more = configured if isinstance(configured, list) else [configured]
        return {self.tokenizer.eos_token_id, *more} - {None}


def _batch_seed(seed: int, batch: int) -> int:
    return int(np.random.SeedSequence([seed, batch]).generate_state(1, np.uint32)[0])


def _shared_prefix(prompts: Sequence[list[int]]) -> int:
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, _columns(prompts)))


def _columns(prompts: Sequence[list[int]]) -> Iterator[tuple[int, ...]]:
    return zip(*prompts, strict=False)
