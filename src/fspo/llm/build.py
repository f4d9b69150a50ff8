"""Makes language models from recipes: all of them write to one store and pay from one budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fspo.errors import FspoError
from fspo.fingerprints import of_model_folder
from fspo.llm.ensemble import Ensemble, Member
from fspo.llm.meter import Budget, Meter, Price
from fspo.llm.requests import LanguageModel
from fspo.llm.store import CachedModel, Store
from fspo.recipe import ModelRecipe

if TYPE_CHECKING:
    from fspo.llm.local import LocalModel


class Builder:
    """Builds each model once; `meters` says what each was asked and what it cost."""

    def __init__(
        self, store: Store | None, budget: float | None = None, workers: int | None = None
    ) -> None:
        """All models write to one store and spend from one budget.

        Args:
            store: keeps the replies; None to keep none.
            budget: the most that may be spent.
            workers: of a Ray cluster, where models are to answer on one.
        """
        self._store = store
        self._workers = workers
        self._built: dict[str, LanguageModel] = {}
        self.budget = Budget(budget)
        self.meters: dict[tuple[str, Price], Meter] = {}

    def model(self, recipe: ModelRecipe) -> LanguageModel:
        """The model of a recipe.

        Raises:
            FspoError: if its key is not in the environment, or its package is not installed.
        """
        settings = recipe.model_dump_json(exclude={"weight", "temperature"})
        if settings not in self._built:
            price = Price(recipe.price_in, recipe.price_out)
            meter = self.meters.setdefault((recipe.model, price), Meter(price, self.budget))
            model = _KINDS[recipe.kind](recipe, meter)
            if self._workers:
                from fspo.llm.cluster import Clustered

                model = Clustered(recipe, model.name, self._workers, meter)
            if self._store is not None:  # an empty one is not nothing
                content = "" if recipe.kind == "openai" else of_model_folder(recipe.model)
                model = CachedModel(model, self._store, self.budget, content)
            self._built[settings] = model
        return self._built[settings]

    def ensemble(self, recipes: Sequence[ModelRecipe]) -> LanguageModel:
        """Several as one; a single one as itself, unless it has a temperature of its own."""
        members = [Member(self.model(r), r.weight, r.temperature) for r in recipes]
        if len(members) == 1 and members[0].temperature is None:
            return members[0].model
        return Ensemble(members)


def _local(recipe: ModelRecipe, meter: Meter) -> LanguageModel:
    from fspo.llm.local_chat import LocalChat

    def load() -> LocalModel:
        from fspo.llm.local import LocalModel
        from fspo.models import load_model

        return LocalModel(*load_model(recipe.model))

    return LocalChat(recipe.model, load, recipe.batch_size, meter)


def _endpoint(recipe: ModelRecipe, meter: Meter) -> LanguageModel:
    from fspo.llm.endpoint import Endpoint

    key = os.environ.get(recipe.key_from)
    if not key:
        raise FspoError(
            f"{recipe.model}: the environment variable {recipe.key_from} is not set; put the "
            "server's key there (any text, for a server that wants none)."
        )
    return Endpoint(
        recipe.model,
        base_url=recipe.base_url,
        api_key=key,
        concurrency=recipe.concurrency,
        requests_per_minute=recipe.requests_per_minute,
        timeout=recipe.timeout,
        meter=meter,
    )


def _vllm(recipe: ModelRecipe, meter: Meter) -> LanguageModel:
    from fspo.llm.vllm import Vllm

    return Vllm(recipe.model, concurrency=recipe.concurrency, timeout=recipe.timeout, meter=meter)


_KINDS: dict[str, Callable[[ModelRecipe, Meter], LanguageModel]] = {
    "local": _local,
    "openai": _endpoint,
    "vllm": _vllm,
}
