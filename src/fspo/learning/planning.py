"""Estimates a training run without its weights: tokens, arithmetic, memory, hours.

    fspo train recipes/paper/ipo.yaml --data roleplay --out runs/ipo --dry-run

The model is built of fake tensors, which have shapes and no contents. Some of the run's own trees
are read forward and backward by it: every matrix product is counted, and so is every tensor that is
kept for the backward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.learning.objectives import objective_named

if TYPE_CHECKING:
    from fspo.learning.tree import EpisodeTree
    from fspo.recipe import TrainRecipe

_SAMPLED = 32  # episodes whose lengths are looked at
_BYTES_OF_STATE = {"adam": 8, "rmsprop": 4, "adagrad": 4, "adafactor": 1, "sgd": 0}


@dataclass(frozen=True)
class Plan:
    """The estimate of a run.

    Attributes:
        parameters: of the model, its adapter included.
        trained: how many of these learn.
        steps: of the optimizer.
        tokens: of an episode's tree, on average.
        longest: the longest path in any tree that was looked at, in tokens.
        dropped: shots that did not fit, of all of these trees.
        pairs: that an episode prices, on average.
        flop: floating-point operations of the whole run, in matrix products and attention.
        weights: bytes of weights, with those of the reference where it is another model.
        learning: bytes of gradients and of the optimizer's state.
        activations: bytes kept for the backward pass of a micro-batch of the longest trees.
    """

    parameters: int
    trained: int
    steps: int
    tokens: float
    longest: int
    dropped: int
    pairs: float
    flop: float
    weights: int
    learning: int
    activations: int

    @property
    def memory(self) -> int:
        """Bytes in all, at least: what kernels and libraries take for themselves comes on top."""
        return self.weights + self.learning + self.activations

    def hours(self, teraflops: float) -> float:
        """Returns how long it takes on a machine that sustains so many TFLOP/s."""
        return self.flop / (teraflops * 1e12) / 3600

    def text(self, teraflops: float) -> str:
        """All of it in a few lines, with the time on a machine that sustains so many TFLOP/s."""
        gigabytes = [
            f"{size / 1e9:.2f} GB {what}"
            for size, what in (
                (self.weights, "weights"),
                (self.learning, "gradients and optimizer"),
                (self.activations, "activations"),
            )
        ]
        dropped = f", {self.dropped} shots dropped of these" if self.dropped else ""
        return "\n".join(
            [
                f"model: {self.parameters:,} parameters, {self.trained:,} of them learn",
                f"episode: {self.tokens:.0f} tokens and {self.pairs:g} pairs on average, "
                f"the longest path {self.longest} tokens{dropped}",
                f"work: {self.steps:,} steps, {self.flop / 1e12:,.0f} TFLOP: "
                f"{self.hours(teraflops):.1f} hours at {teraflops:.2f} TFLOP/s",
                f"memory: {', '.join(gigabytes)}: {self.memory / 1e9:.1f} GB at least",
            ]
        )


def plan(recipe: TrainRecipe) -> Plan:
    """Builds all that a run needs, without contents, and counts.

    Args:
        recipe: of method fspo, with its data. Of the model, configuration and tokenizer are read;
            no weights are needed.

    Raises:
        FspoError: as `fspo.learning.train.train`, or if it is another method.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from fspo.learning.batch import passes
    from fspo.learning.episodes import EpisodeDataset
    from fspo.learning.settings import checked
    from fspo.learning.train import training_data
    from fspo.models import read_config

    if recipe.method != "fspo":
        raise FspoError(f"--dry-run: it is for method fspo, and this is {recipe.method}")
    if not recipe.data:
        raise FspoError("data: not given; name it in the recipe or with --data")
    checked(recipe.trainer)
    config, tokenizer, dtype = read_config(recipe.model)
    episodes = EpisodeDataset(training_data(recipe), tokenizer, recipe)
    trees = [episodes[index] for index in range(min(_SAMPLED, len(episodes)))]
    ordered = sorted(trees, key=len)
    typical, longest = ordered[len(ordered) // 2], ordered[-recipe.micro_batch_size :]
    if recipe.micro_batch_tokens:
        longest = passes(ordered[-recipe.batch_size :], recipe.micro_batch_tokens)[-1]
    if recipe.lora is None:
        dtype = torch.float32  # as in training
    model = _model(recipe, config, dtype)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _as_on_cpu(model)
        with _counted_flop() as flop:
            _step(recipe, model, [typical])
        with _kept_bytes(model) as kept:
            _step(recipe, model, longest)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    compared = objective_named(recipe.objective).needs_reference
    copies = 2 if recipe.lora is None and compared else 1
    mean = sum(map(len, trees)) / len(trees)
    return Plan(
        parameters=parameters,
        trained=trained,
        steps=-(-recipe.episodes // recipe.batch_size),
        tokens=round(mean, 1),
        longest=max(tree.longest_path for tree in trees),
        dropped=sum(tree.dropped for tree in trees),
        pairs=round(sum(len(tree.responses) for tree in trees) / 2 / len(trees), 2),
        flop=flop[0] * recipe.episodes * mean / len(typical),
        weights=copies * dtype.itemsize * parameters,
        learning=trained * (4 + _state_bytes(recipe.optimizer)),
        activations=kept[0],
    )


def _model(recipe: TrainRecipe, config: Any, dtype: Any) -> Any:
    """The model that learns, with its adapter, on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    from fspo.learning.adapters import new_adapter

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        if recipe.lora is not None:
            model = new_adapter(model, recipe)
    return model.train()


def _as_on_cpu(model: Any) -> None:
    """Inside a fake mode: gives all weights and buffers the device whose kernels are counted.

    Nothing computes on the meta device, where attention falls back to its slowest form.
    """
    import torch
    from torch import nn

    made: dict[int, Any] = {}  # tied weights stay one
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, old in kind.items():
                if old is None:
                    continue
                if id(old) not in made:
                    new: Any = torch.empty(old.shape, dtype=old.dtype)
                    if isinstance(old, nn.Parameter):
                        new = nn.Parameter(new, old.requires_grad)
                    made[id(old)] = new
                kind[name] = made[id(old)]


def _step(recipe: TrainRecipe, model: Any, trees: Sequence[EpisodeTree]) -> None:
    """The forward and backward passes of a micro-batch, as the trainer does them."""
    import torch

    from fspo.learning.policy import reference_logps, shared_with_reference
    from fspo.learning.scoring import causal_model, response_logps

    if recipe.trainer.get("activation_checkpointing"):
        causal_model(model).activation_checkpointing_enable()
    if not objective_named(recipe.objective).needs_reference:
        policy = response_logps(model, trees)
    else:
        frozen = model if recipe.lora is None else None
        with shared_with_reference(model, frozen):
            reference_logps(model, frozen, trees)
            policy = response_logps(model, trees)
    torch.cat(policy).sum().backward()


@contextlib.contextmanager
def _counted_flop() -> Iterator[list[int]]:
    """Inside, floating-point operations are counted; the list's one number is their sum."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    counted = [0]

    class Counting(TorchDispatchMode):  # PyTorch's own counter fails where `autograd.grad` is used
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            found = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                counted[0] += int(formula(*args, **(kwargs or {}), out_val=found))
            return found

    with Counting():  # type: ignore[no-untyped-call]
        yield counted


@contextlib.contextmanager
def _kept_bytes(model: Any) -> Iterator[list[int]]:
    """Inside, what is kept for the backward pass is counted, weights aside and nothing twice."""
    import torch

    counted = [0]
    seen = {p.untyped_storage()._cdata: p.untyped_storage() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = storage  # held, so that its place is not taken by another
            counted[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield counted


def _state_bytes(optimizer: str) -> int:
    """Bytes that an optimizer keeps for each parameter that learns."""
    if "8bit" in optimizer:
        return 2
    known = [size for name, size in _BYTES_OF_STATE.items() if optimizer.startswith(name)]
    return known[0] if known else max(_BYTES_OF_STATE.values())


def matrix_product_rate() -> float:
    """TFLOP/s of this machine in products of 2048 x 2048 matrices: the most that it can sustain."""
    import time

    import torch

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu and torch.cuda.is_bf16_supported() else torch.float32
    a, b = torch.ones(2, 2048, 2048, dtype=dtype, device="cuda" if gpu else "cpu")
    best = 0.0
    for _ in range(6):
        since = time.perf_counter()
        (a @ b)[0, 0].item()
        best = max(best, 2 * 2048**3 / (time.perf_counter() - since) / 1e12)
    return best
