"""What a run saves and goes on from: weights as safetensors, and the last whole checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def save_weights(model: Any, folder: Path, gathered: dict[str, Any] | None = None) -> None:
    """Saves the adapter that learns, or all weights, as safetensors.

    Args:
        model: what learned.
        folder: where to.
        gathered: its weights, where each process holds but a part of them.
    """
    given = {} if gathered is None else {"state_dict": gathered}
    if hasattr(model, "peft_config"):
        # Embeddings do not learn; without being told, PEFT asks the hub whether they might have.
        model.save_pretrained(
            str(folder), selected_adapters=["default"], save_embedding_layers=False, **given
        )
    else:
        model.save_pretrained(str(folder), **given)


def load_weights(model: Any, folder: Path) -> None:
    """Puts what `save_weights` saved into a model of the same form, sharded or not.

    Raises:
        ValueError: if the file has a weight that the model has not.
    """
    from safetensors.torch import load_file
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    if hasattr(model, "peft_config"):
        weights = load_file(folder / "adapter_model.safetensors")
        # As PEFT names the weights of the adapter that learns; a file leaves its name out.
        names = {name: re.sub(r"(?<=\.lora_[AB])(?=\.)", ".default", name) for name in weights}
        files = [{names[name]: weight for name, weight in weights.items()}]
    else:
        files = [load_file(file) for file in sorted(folder.glob("model*.safetensors"))]
    for found in files:
        # Not strict: tied weights are stored once, and of a model with an adapter nothing else is.
        options = StateDictOptions(full_state_dict=True, strict=False)
        unknown = set_model_state_dict(model, dict(found), options=options).unexpected_keys
        if unknown:
            raise ValueError(f"{folder}: the model has no weight {unknown[0]!r}")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end, or None.

    Trainer writes `trainer_state.json` last: a checkpoint without it, or with half of it, was cut
    off, and the one before it is taken.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    return next((path for path in reversed(found) if _is_whole(path)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
