"""The model that learns beside the reference that it is compared with, in one set of weights.

With a LoRA adapter the reference costs no memory: it is the same model with the adapter off, or
with the adapter that training started from (kept beside it, frozen, under the name "reference").
A policy's folder holds the adapter and `fspo.json`: template, objective, beta, and so on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.scoring import response_logps
from fspo.learning.sharing import lower_layers_once
from fspo.learning.tree import EpisodeTree
from fspo.methods.table import METHODS, method_of
from fspo.places import base_in, find

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from fspo.preferences.records import Preference

SETTINGS = "fspo.json"
REFERENCE = "reference"


@dataclass
class Policy:
    """A trained model with what is needed to use it as it was trained.

    Attributes:
        model: a PeftModel, or a transformers model whose own weights were trained.
        tokenizer: the model's.
        template: how its episodes are written.
        beta: of the implicit reward.
        settings: whatever `fspo.json` says.
        frozen: the reference, where it is another model than `model` with its adapter off.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    template: str
    beta: float
    settings: dict[str, Any]
    frozen: Any = None

    def margins(self, trees: Sequence[EpisodeTree]) -> list[Tensor]:
        """For each tree, `log pi(y) - log pi_ref(y)` of every response, float (responses,).

        Per token, if that is what was trained (`logps: mean`): beta is by the same measure.
        """
        import torch

        from fspo.learning.losses import reduced

        reduction = self.settings.get("logps", "sum")
        with torch.inference_mode(), shared_with_reference(self.model, self.frozen):
            reference = reference_logps(self.model, self.frozen, trees)
            policy = response_logps(self.model, trees)
        return [
            reduced(tree, p - r, reduction)
            for tree, p, r in zip(trees, policy, reference, strict=True)
        ]

    def rewards(
        self, user_id: str, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        """The user's implicit reward of each answer: `beta (log pi(y) - log pi_ref(y))`.

        Rafailov et al., arXiv 2305.18290, section 4, with the user's shots in the context. What is
        common to all answers of a prompt is not known, so only differences mean something.
        """
        tree = EpisodeTree.from_candidates(
            user_id, shots, prompt, answers, self.tokenizer, self.template
        )
        (margins,) = self.margins([tree])
        return [self.beta * value for value in margins.tolist()]


def reference_logps(
    model: Any,
    frozen: Any,
    trees: Sequence[EpisodeTree],
) -> list[Tensor]:
    """The reference's log-probs of every response: `frozen`'s, or else those of `model` itself."""
    import torch

    with torch.no_grad():
        if frozen is not None:
            return response_logps(frozen, trees)
        with reference_weights(model):
            return response_logps(model, trees)


def shared_with_reference(model: Any, frozen: Any) -> AbstractContextManager[None]:
    """Inside, the reference's pass over some trees saves the policy's a part of its own."""
    return nullcontext() if frozen is not None else lower_layers_once(model)


@contextmanager
def reference_weights(model: Any) -> Iterator[None]:
    """Inside, the model is the reference that its adapter is compared with."""
    if REFERENCE not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    learning = model.active_adapter
    model.set_adapter(REFERENCE)
    try:
        yield
    finally:
        model.set_adapter(learning)


def load_policy(folder: str | Path) -> Policy:
    """Loads what `fspo train` wrote.

    Raises:
        FspoError: if the folder holds no policy, or one that cannot be loaded.
    """
    from fspo.models import load_model

    settings = read_settings(folder)
    if not method_of(settings).is_policy:
        raise FspoError(
            f"{folder}: holds a reward of method {settings['method']}, not a policy; evaluate "
            "takes it"
        )
    template, beta = settings["template"], settings["beta"]
    check_base(folder, settings)
    model, tokenizer = load_model(str(folder))
    if settings.get("lora") is None:
        frozen, _ = load_model(settings["model"])
        return Policy(model, tokenizer, template, beta, settings, frozen)
    if (Path(folder) / REFERENCE / "adapter_config.json").is_file():
        add_reference(model, Path(folder) / REFERENCE)
    return Policy(model, tokenizer, template, beta, settings)


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Returns what a policy's `fspo.json` says, without loading it.

    Raises:
        FspoError: if the folder holds no policy, or one of a method that is not in the table.
    """
    path = Path(folder) / SETTINGS
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {
            "model": str(settings["model"]),
            "template": str(settings["template"]),
            "beta": float(settings["beta"]),
        }
    except FileNotFoundError as error:
        raise FspoError(
            f"{path}: not found. Give the folder that `fspo train` wrote, once it has finished."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FspoError(f"{path}: this is not what `fspo train` writes: {error}") from error
    if (method := settings.get("method", "fspo")) not in [*METHODS]:
        raise FspoError(
            f"{path}: was trained by method {method!r}; this version has {', '.join(METHODS)}"
        )
    settings |= known
    return settings | {"model": find(settings, "model", Path(folder)) or settings["model"]}


def check_base(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Makes sure that a policy's base model is there, and says if it has changed.

    Raises:
        FspoError: if it is not found.
    """
    base = base_in(settings, Path(folder))
    if not is_base(settings, base, Path(folder)):
        say(f"{folder}: its base model {base} is not what it was when the policy was trained")


def is_base(settings: Mapping[str, Any], model: str, folder: Path) -> bool:
    """Returns whether a model is the one that a policy was trained on, as far as that is known.

    Args:
        settings: of the policy.
        model: as `load_model` takes it.
        folder: the policy's.
    """
    from fspo.fingerprints import of_model

    known = settings.get("fingerprints")
    if isinstance(known, dict) and "model" in known:
        return bool(known["model"] == of_model(model))
    base = find(settings, "model", folder)
    if base is None:
        return bool(settings["model"] == model)
    return base == model or of_model(base) == of_model(model)


def add_reference(model: Any, adapter: Path) -> None:
    """Puts a frozen adapter beside the one that learns, as the reference."""
    from fspo.pretrained import with_adapter

    with_adapter(model, adapter, adapter_name=REFERENCE, is_trainable=False)
