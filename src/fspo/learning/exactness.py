"""Makes sure, by numbers, that a model's log-probs are those of its own forward pass.

A tree is read in one pass with a mask over its branches. Layers that carry on what they have read
in other ways than by attention (recurrent, convolutional, ALiBi) do not read that mask: such a
model is given each path of a tree by itself. Where that differs from the model's own forward pass,
too, the model is refused. All this is found out on two very small trees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.console import say
from fspo.errors import FspoError, first_line
from fspo.files import write_json
from fspo.fingerprints import of_model, of_parts
from fspo.home import cache_folder
from fspo.learning.tree import EpisodeTree
from fspo.learning.tree_builder import Pair, TreeBuilder

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = {"full_attention", "sliding_attention"}  # layers that read our masks
# A window that our masks do not know of would be too long for a small tree to show.
_WINDOW = re.compile("window|local_attention|attention_chunk")
_NO_WINDOW = {"sliding_window", "max_window_layers"}
_VERDICT = "_fspo_paths"  # where a model keeps what was found
_ROUNDING = "_fspo_rounding"


def reads_paths(model: Any) -> bool:
    """Returns whether a model is given each path of a tree by itself; found out when first asked.

    Raises:
        FspoError: if its log-probs are not right either way.
    """
    from fspo.learning.scoring import causal_model

    found = getattr(causal_model(model), _VERDICT, None)
    return check_exact(model) if found is None else bool(found)


def check_exact(model: Any, name: str = "this model") -> bool:
    """Compares a model's log-probs of small trees with its own forward pass, response by response.

    Args:
        model: a causal language model of transformers, with or without a LoRA adapter.
        name: the model's, for messages.

    Returns:
        Whether it has to be given each path of a tree by itself.

    Raises:
        FspoError: if it is not right even so.
    """
    import torch

    from fspo.learning.scoring import causal_model

    causal = causal_model(model)
    if is_fake(causal):
        return _carries_on(causal)
    config = causal.config.get_text_config()
    attention = config._attn_implementation
    try:
        with torch.no_grad(), at_rest(model):
            paths = _found(model, causal, name)
    finally:
        config._attn_implementation = attention  # which trees may have made ours
    setattr(causal, _VERDICT, paths)
    return paths


def check_loaded(model: Any, name: str) -> None:
    """Checks a model that was just loaded, once for its content: what was found is kept.

    Args:
        model: a causal language model of transformers, without an adapter.
        name: what it was loaded by.

    Raises:
        FspoError: as `check_exact`.
    """
    from fspo.llm.writing import BATCH, keep_way, way_of

    what, note = f"model {name!r}", _note_of(model, name)
    try:
        known = json.loads(note.read_bytes()) if note else {}
        paths, way = bool(known["paths"]), str(known["writing"])
    except (OSError, ValueError, LookupError, TypeError):  # not noted yet, or not whole
        paths, way = check_exact(model, what), way_of(model)
        if note is not None:
            with suppress(OSError, FspoError):  # or else it is checked again next time
                write_json(note, {"paths": paths, "writing": way, "name": name})
    setattr(model, _VERDICT, paths)
    keep_way(model, way)
    if paths or way != BATCH:
        _say_once(f"{what}: its kind of layers reads one text at a time, which is slower")


def _note_of(model: Any, name: str) -> Path | None:
    """Returns where it is kept what was found of a model, by all that this depends on."""
    import torch
    import transformers

    from fspo import __version__

    versions = (__version__, torch.__version__, transformers.__version__)
    computed = (str(model.dtype), model.device.type, str(model.config._attn_implementation))
    try:
        key = of_parts("exactness 2", of_model(name), versions, computed)
        return cache_folder() / "exactness" / f"{key}.json"
    except FspoError:  # a model that cannot be told by its content, nobody's home
        return None


@cache
def _say_once(message: str) -> None:
    say(message)


def _found(model: Any, causal: Any, name: str) -> bool:
    if reason := _ruled_out(causal.config.get_text_config()):
        raise _refused(causal, name, reason)
    trees = small_trees(causal)
    try:
        expected = _own(model, trees)
    except Exception as error:
        raise _refused(
            causal, name, f"it cannot read token ids alone ({first_line(error)})"
        ) from error
    reason = ""
    config = causal.config.get_text_config()
    attention = config._attn_implementation
    for paths in (False, True):
        if not paths and _carries_on(causal):
            continue
        config._attn_implementation = attention  # which trees may have made ours
        try:
            worst = difference(_ours(causal, trees, paths), expected)
        except Exception as error:
            reason = f"it cannot be read as others are ({first_line(error)})"
            continue
        if worst <= tolerance(causal):
            return paths
        reason = f"they differ by {worst:.2g} nats"
    raise _refused(causal, name, reason)


def _ruled_out(config: Any) -> str:
    """Returns what keeps long texts from being read like short ones: no small tree shows it."""
    if "lsh" in (getattr(config, "attn_layers", None) or ()):
        return "what it attends to is drawn at random"
    if (
        getattr(config, "attention_type", None) == "block_sparse"
        and config.model_type == "big_bird"
    ):
        return "what it attends to in long texts is drawn at random"
    return ""


def _refused(causal: Any, name: str, reason: str) -> FspoError:
    return FspoError(
        f"{name}: models of kind {causal.config.model_type} are not supported: log-probs of "
        f"responses are not those of the model's own forward pass; {reason}. Take another model."
    )


def small_trees(causal: Any) -> list[EpisodeTree]:
    """Two trees of unlike size, of tokens drawn at random."""
    config = causal.config.get_text_config()
    generator = np.random.default_rng(0)
    end = config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    end = end if isinstance(end, int) and 0 <= end < config.vocab_size else 0

    def some(count: int) -> list[int]:
        lowest = min(3, config.vocab_size - 1)
        return [int(token) for token in generator.integers(lowest, config.vocab_size, count)]

    trees = []
    for targets in (2, 1):
        builder = TreeBuilder(some(2))
        for number in range(targets):
            builder.chain += some(2)
            pair = Pair([], [*some(3), end], [*some(2), end])
            builder.add_target(pair)
            if number < targets - 1:
                builder.chain += [*some(1), *pair.rejected]
        builder.chain.pop()
        trees.append(EpisodeTree("", *builder.build()))
    return trees


def _own(model: Any, trees: Sequence[EpisodeTree], perturbed: float = 0.0) -> Tensor:
    """The log-probs of all tokens where responses are predicted, float32 (rows, vocabulary)."""
    import torch

    rows = []
    with _perturbed(model, perturbed) if perturbed else nullcontext():
        for tree in trees:
            for response in tree.responses:
                context = tree.path(response.rows[0])
                ids = torch.tensor([[*context, *response.tokens]], device=model.device)
                logits = model(input_ids=ids, use_cache=False).logits[0, len(context) - 1 : -1]
                rows.append(logits.float().log_softmax(-1))
    return torch.cat(rows)


def _ours(causal: Any, trees: Sequence[EpisodeTree], paths: bool) -> Tensor:
    """The same as we read trees."""
    from fspo.learning.scoring import own_head, read_rows

    read = read_rows(causal, trees, paths)
    return own_head(causal, read.kind)(read.hidden).float().log_softmax(-1)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, in nats; tokens that both rule out are alike."""
    import torch

    same = (found == expected) | (found.isnan() & expected.isnan())
    apart = torch.where(same, 0, (found - expected).abs()).max().item()
    return apart if apart == apart else float("inf")


def tolerance(causal: Any) -> float:
    """Returns what rounding may make of a token's log-prob, in nats.

    How much that is depends on the model: a deep one multiplies what its first layers round. So the
    model's own forward pass is asked, with its input embeddings changed by 1e-5 of themselves,
    which moves the embedded model's log-probs as far as batches of another shape do (7e-4 nats).
    """
    import torch

    if causal.dtype not in (torch.float32, torch.float64):
        return 0.25
    if not hasattr(causal, _ROUNDING):
        tree = small_trees(causal)[1]
        try:
            with torch.no_grad(), at_rest(causal):
                moved = difference(_own(causal, [tree], perturbed=1e-5), _own(causal, [tree]))
        except Exception:  # what cannot read token ids is refused elsewhere
            moved = 0.0
        setattr(causal, _ROUNDING, min(max(1e-4, 5 * moved), 1e-2))
    return float(getattr(causal, _ROUNDING))


@contextmanager
def _perturbed(causal: Any, relative: float) -> Iterator[None]:
    """Inside, the input embeddings are changed at random by so much of themselves."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def change(_: Any, __: Any, embedded: Tensor) -> Tensor:
        noise = torch.randn(embedded.shape, generator=generator).to(embedded)
        return embedded * (1 + relative * noise)

    hook = causal.get_input_embeddings().register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()


def _carries_on(causal: Any) -> bool:
    """Returns whether a model says that layers see another part of the text than we know of."""
    config = causal.config.get_text_config()
    other = set(getattr(config, "layer_types", None) or ()) - _ATTENTION
    by_distance = config.model_type == "bloom" or getattr(config, "alibi", False)
    return bool(other) or by_distance or bool(windows(config) - _NO_WINDOW)


def windows(config: Any) -> set[str]:
    """The settings of a model by which layers see only a part of the text, such as a window."""
    told = config.get_text_config().to_dict()
    return {
        name
        for name, value in told.items()
        if _WINDOW.search(name) and isinstance(value, int) and value > 1
    }


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """Inside, nothing of the model learns: no dropout is drawn."""
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in learning:
            module.training = True


def is_fake(causal: Any) -> bool:
    """Returns whether a model has shapes alone, and no numbers."""
    from torch._subclasses.fake_tensor import FakeTensor

    some = next(causal.parameters())
    return some.is_meta or isinstance(some, FakeTensor)
