"""The same models on many machines: batches of requests go through Ray Data to workers.

A worker holds a model of its own. If one is lost, Ray starts another and gives it the batches that
had not come back; what came back is stored on the machine that asked, in the order of the batches,
so a cluster writes the very dataset that one machine writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from fspo.errors import FspoError
from fspo.llm.local_chat import batches
from fspo.llm.meter import Meter
from fspo.llm.requests import LanguageModel, Reply, Request, reply_of
from fspo.recipe import ModelRecipe


class Clustered:
    """A model that answers on the workers of a Ray cluster."""

    def __init__(self, recipe: ModelRecipe, name: str, workers: int, meter: Meter) -> None:
        """The cluster is the one that Ray is joined to, or begun on this machine when asked.

        Args:
            recipe: the model; a key is read from the environment of each worker.
            name: the model's name, the same as without a cluster.
            workers: how many.
            meter: counts what is asked; each worker may spend its share of the budget.
        """
        self._recipe = recipe
        self._name = name
        self._workers = workers
        self._meter = meter

    @property
    def name(self) -> str:
        """The model's."""
        return self._name

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields batch after batch, in order.

        Raises:
            FspoError: if a model on a worker does; what was answered is yielded first.
        """
        if not requests:
            return
        plan = list(batches(requests, self._recipe.batch_size))
        fault, budget = "", self._meter.budget
        for number, row in enumerate(self._rows(requests, plan)):
            replies = [
                (plan[number][place], reply_of(said)) for place, said in json.loads(row["replies"])
            ]
            for place, reply in replies:
                self._meter.commit(0.0, requests[place], reply)
            budget.lose(row["lost"])
            fault = fault or row["fault"]
            # Half a batch of a local model is not what it would have written in a whole one.
            if replies and (len(replies) == len(plan[number]) or self._recipe.kind != "local"):
                yield replies
        if fault:
            raise FspoError(fault)

    def _rows(self, requests: Sequence[Request], plan: Sequence[list[int]]) -> Iterator[Any]:
        ray = _joined(self._workers)
        items = [{"asked": json.dumps([asdict(requests[p]) for p in batch])} for batch in plan]
        budget = self._meter.budget
        share = None if budget.limit is None else (budget.limit - budget.spent) / self._workers
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        answered = ray.data.from_items(items, override_num_blocks=len(items)).map(
            Worker,
            fn_constructor_args=(self._recipe.model_dump_json(), share),
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(items))),
            num_cpus=1,
        )
        return iter(answered.iter_rows())


class Worker:
    """One model, somewhere in the cluster."""

    def __init__(self, recipe: str, budget: float | None) -> None:
        """`recipe` is a `ModelRecipe` as JSON; `budget` the most that this worker may spend."""
        from fspo.llm.build import Builder

        builder = Builder(None, budget)
        self._budget = builder.budget
        self._model: LanguageModel = builder.model(ModelRecipe.model_validate_json(recipe))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The replies to a batch of requests, what went wrong, if anything, and money lost."""
        requests = [_request(fields) for fields in json.loads(row["asked"])]
        replies: list[tuple[int, Reply]] = []
        fault, lost = "", self._budget.lost
        try:
            for group in self._model.answer(requests):
                replies += group
        except FspoError as error:
            fault = str(error)
        lost = self._budget.lost - lost
        return {"replies": json.dumps(replies), "fault": fault, "lost": lost}


def _request(fields: dict[str, Any]) -> Request:
    messages = tuple((role, text) for role, text in fields.pop("messages"))
    return Request(messages, choices=tuple(fields.pop("choices")), **fields)


def _joined(workers: int) -> Any:
    """Ray, joined to the cluster that the environment names, or begun on this machine.

    Raises:
        FspoError: if it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise FspoError(
            "`--engine ray` needs Ray: install the extra with `pip install 'fspo[ray]'`"
        ) from error
    if not ray.is_initialized():
        import logging
        import os

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own notices, not ours
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers + 1}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **here)
    return ray
