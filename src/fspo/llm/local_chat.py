"""A model on this machine as a `LanguageModel`: in batches whose conversations begin alike.

The embedded default costs nothing but time. A batch's random numbers depend on its own requests,
and batches are cut from the sorted requests one after the other, so that a run that was killed
after some of them goes on with the very batches that an uninterrupted one would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from math import exp

from fspo.errors import FspoError
from fspo.llm.local import LocalModel
from fspo.llm.meter import Meter
from fspo.llm.requests import Reply, Request

Kind = tuple[int, float, float, tuple[str, ...]]  # what the requests of a batch have in common


class LocalChat:
    """Answers requests with a model that `load_model` gives."""

    def __init__(
        self,
        name: str,
        load: Callable[[], LocalModel],
        batch_size: int = 32,
        meter: Meter | None = None,
    ) -> None:
        """Nothing is loaded until something is asked.

        Args:
            name: the model's name, as `load_model` knows it.
            load: loads the model.
            batch_size: how many answers are written at once.
            meter: counts what is asked.
        """
        self._model_name = name
        self._load = load
        self._batch_size = batch_size
        self._meter = meter or Meter()

    @property
    def name(self) -> str:
        """The model's name; what is sampled depends on the batch's size, too."""
        return f"{self._model_name} in batches of {self._batch_size}"

    @cached_property
    def _local(self) -> LocalModel:
        return self._load()

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields batch after batch."""
        for batch in batches(requests, self._batch_size):
            asked = [requests[place] for place in batch]
            replies = self._choose(asked) if asked[0].choices else self._write(asked)
            for request, reply in zip(asked, replies, strict=True):
                self._meter.commit(0.0, request, reply)
            yield list(zip(batch, replies, strict=True))

    def _prompts(self, requests: Sequence[Request]) -> list[list[int]]:
        return [
            self._local.tokens([{"role": role, "content": text} for role, text in r.messages])
            for r in requests
        ]

    def _write(self, requests: Sequence[Request]) -> list[Reply]:
        prompts, first = self._prompts(requests), requests[0]
        [texts] = self._local.continue_all(
            [prompts],
            max_new_tokens=first.max_tokens,
            temperature=first.temperature,
            top_p=first.top_p,
            seed=int.from_bytes(first.key(self.name)[:6]),
        )
        return [
            self._reply(text, prompt, len(self._local.tokenizer(text).input_ids))
            for text, prompt in zip(texts, prompts, strict=True)
        ]

    def _choose(self, requests: Sequence[Request]) -> list[Reply]:
        choices, prompts = requests[0].choices, self._prompts(requests)
        tokens = [self._first_token(choice) for choice in choices]
        replies = []
        for prompt, logps in zip(prompts, self._local.next_logprobs(prompts, tokens), strict=True):
            weights = [exp(logp - max(logps)) for logp in logps]
            probabilities = tuple(weight / sum(weights) for weight in weights)
            likeliest = choices[probabilities.index(max(probabilities))]
            replies.append(self._reply(likeliest, prompt, 1)._replace(probabilities=probabilities))
        return replies

    def _first_token(self, choice: str) -> int:
        tokens = self._local.tokenizer(choice, add_special_tokens=False).input_ids
        if len(tokens) != 1:
            raise FspoError(
                f"{self._model_name}: {choice!r} is {len(tokens)} tokens to this model, and a "
                "choice has to be one. Take another model as the labeller."
            )
        return int(tokens[0])

    def _reply(self, text: str, prompt: Sequence[int], written: int) -> Reply:
        return Reply(text, self._model_name, len(prompt), written)


def batches(requests: Sequence[Request], size: int) -> Iterator[list[int]]:
    """The places of requests that are answered together: alike in how they are sampled.

    The batches of what is left, once the first of them have been answered, are the same ones.
    """
    order = sorted(range(len(requests)), key=lambda place: _sorting(requests[place]))
    for _, alike in groupby(order, key=lambda place: _kind(requests[place])):
        places = list(alike)
        for start in range(0, len(places), size):
            yield places[start : start + size]


def _kind(request: Request) -> Kind:
    return request.max_tokens, request.temperature, request.top_p, request.choices


def _sorting(request: Request) -> tuple[Kind, str, int, bytes]:
    """Those that begin alike stand together: what a whole batch begins with is read once."""
    length = sum(len(text) for _, text in request.messages)
    return _kind(request), request.messages[0][1][:200], length, request.key("")
