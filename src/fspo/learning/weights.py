"""Weights on disk: what learned, as safetensors, under names that lead back into the model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.errors import FspoError
from fspo.files import follow_umask

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter_model.safetensors"
_UNFINISHED = ".unfinished."


def save_weights(model: Any, folder: Path, gathered: dict[str, Any] | None = None) -> None:
    """Saves the adapter that learns, or all weights, as safetensors, each file whole or not at all.

    Args:
        model: what learned.
        folder: where to.
        gathered: its weights, where each process holds but a part of them.
    """
    given = {} if gathered is None else {"state_dict": gathered}
    with whole_files(folder) as unfinished:
        if hasattr(model, "peft_config"):
            # Embeddings do not learn, or PEFT keeps them of itself; without being told, it asks
            # the hub whether they might have.
            model.save_pretrained(
                str(unfinished),
                selected_adapters=["default"],
                save_embedding_layers=False,
                **given,
            )
        else:
            model.save_pretrained(str(unfinished), **given)


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Gives a hidden folder inside `folder`, and moves its files up when all went well.

    They get the permissions that the umask leaves, whatever the library that wrote them gave them:
    safetensors makes files that their owner alone can read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_UNFINISHED}*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        yield unfinished
        follow_umask(unfinished)
        for path in unfinished.iterdir():
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def load_weights(model: Any, folder: Path) -> None:
    """Puts what `save_weights` saved into a model of the same form, sharded or not.

    Raises:
        FspoError: if a file has a weight that the model has not, or lacks one that it has.
    """
    from safetensors.torch import load_file
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    if hasattr(model, "peft_config"):
        names = adapter_names(model)
        files = [load_file(folder / ADAPTER)]
        unknown = sorted(files[0].keys() - names.keys())
        missing = sorted(names.keys() - files[0].keys())
        files = [{names[name]: weight for name, weight in files[0].items() if name in names}]
    else:
        files = [load_file(file) for file in sorted(folder.glob("model*.safetensors"))]
        there = {name for weights in files for name in weights}
        unknown = sorted(there - model.state_dict().keys())
        missing = _missing(model, there)
    if unknown or missing:
        fault = (
            f"the model has no weight {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        )
        raise FspoError(f"{folder}: these weights are of another model: {fault}")
    for found in files:
        # Not strict: tied weights are stored once, and of a model with an adapter nothing else is.
        options = StateDictOptions(full_state_dict=True, strict=False)
        set_model_state_dict(model, dict(found), options=options)


def adapter_names(model: Any) -> dict[str, str]:
    """For each name in the file of the adapter that learns, the weight's own name in the model.

    A weight of which the file holds something else than itself has no place here.
    """
    from peft import get_peft_model_state_dict

    own: Mapping[str, Tensor] = model.state_dict()
    by_identity = {id(weight): name for name, weight in own.items()}
    saved = get_peft_model_state_dict(model, own, "default", save_embedding_layers=False)
    return {
        name: by_identity[id(weight)] for name, weight in saved.items() if id(weight) in by_identity
    }


def check_resumable(model: Any, adapter: Path) -> None:
    """Makes sure that a run which starts from this adapter can be gone on with.

    Raises:
        FspoError: if a weight learns that would not be saved.
    """
    kept = set(adapter_names(model).values())
    learning = [name for name, weight in model.named_parameters() if weight.requires_grad]
    lost = [name for name in learning if name not in kept]
    if lost or not learning:
        what = (
            f"its weight {lost[0]!r} learns, but is not saved" if lost else "nothing of it learns"
        )
        raise FspoError(
            f"adapter: {adapter}: {what}, so that no run could go on from it. Take a LoRA adapter."
        )


def _missing(model: Any, there: set[str]) -> list[str]:
    """The weights that are not there, nor one that they are tied to."""
    every = dict(model.named_parameters(remove_duplicate=False))
    known = {id(weight) for name, weight in every.items() if name in there}
    return [name for name, weight in every.items() if id(weight) not in known]
