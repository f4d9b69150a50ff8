"""What a run saves and goes on from: weights as safetensors, and the last whole checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_weights(model: Any, folder: Path) -> None:
    """Saves the adapter that learns, or all weights, as safetensors."""
    if hasattr(model, "peft_config"):
        # Embeddings do not learn; without being told, PEFT asks the hub whether they might have.
        model.save_pretrained(
            str(folder), selected_adapters=["default"], save_embedding_layers=False
        )
    else:
        model.save_pretrained(str(folder))


def load_weights(model: Any, folder: Path) -> None:
    """Puts what `save_weights` saved into a model of the same form."""
    from safetensors.torch import load_file

    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        weights = load_file(folder / "adapter_model.safetensors")
        set_peft_model_state_dict(model, weights, adapter_name="default")
        return
    for file in sorted(folder.glob("model*.safetensors")):
        # Tied weights are stored once, so a file need not name every parameter.
        model.load_state_dict(load_file(file), strict=False)


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
