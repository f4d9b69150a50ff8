"""The reference's log-probs, computed once and kept beside the data for every further run.

Episodes depend on the recipe's seed and shots, not on what is learned from them: runs that differ
in objective, learning rate or adapter read the same trees, and the reference gives them the same
log-probs. The file is named after all that they depend on.

    data/.fspo/reference-9c1f....safetensors     episode -> float32 (responses,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say, track
from fspo.files import replacing
from fspo.fingerprints import of_folder, of_model, of_parts, of_rows, of_template
from fspo.learning.tree import EpisodeTree

if TYPE_CHECKING:
    from torch import Tensor

    from fspo.preferences.records import Preferences
    from fspo.recipe import TrainRecipe

Price = Callable[[Sequence[EpisodeTree]], "Sequence[Tensor]"]

_KEPT_EVERY = 64  # episodes; what was priced since is lost if the process is killed
_DEPENDS_ON = (
    "shots",
    "paired",
    "opposed",
    "imputed",
    "max_length",
    "seed",
)


class StoredReference:
    """Episodes with the log-probs that the reference gives their responses."""

    def __init__(self, episodes: Any, path: Path, price: Price) -> None:
        """Prices what `path` does not hold yet, and keeps it there.

        Args:
            episodes: a dataset of trees; the i-th is always the same.
            path: the file; another run of the same episodes may have begun it.
            price: gives each tree's response log-probs by the reference.
        """
        self._episodes = episodes
        self.left_out: int = episodes.left_out
        self._logps = _priced(episodes, path, price)

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> EpisodeTree:
        tree: EpisodeTree = self._episodes[index]
        return replace(tree, reference=self._logps[str(index)].numpy())


def _priced(episodes: Any, path: Path, price: Price) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        known = load_file(path) if path.is_file() else {}
    except SafetensorError:
        say(f"{path}: is damaged, so that the reference's log-probs are computed anew")
        known = {}
    missing = [index for index in range(len(episodes)) if str(index) not in known]
    if not missing:
        say(f"the reference's log-probs are those of {path}")
        return known
    for count, index in enumerate(track(missing, "reference", len(missing)), 1):
        [logps] = price([episodes[index]])
        known[str(index)] = logps.float().cpu()
        if count % _KEPT_EVERY == 0 or count == len(missing):
            _keep(known, path)
    return known


def _keep(known: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(known, temporary)


def reference_path(recipe: TrainRecipe, preferences: Preferences, dtype: str) -> Path:
    """Returns where the log-probs of a recipe's episodes are kept.

    Args:
        recipe: whose episodes.
        preferences: what they are drawn from.
        dtype: what the reference computes in.

    Returns:
        A path beside the data; in the working folder's `.fspo` for data that is on no disk.
    """
    told: dict[str, Any] = {key: getattr(recipe, key) for key in _DEPENDS_ON} | {"dtype": dtype}
    if recipe.imputed:  # other episodes than in earlier versions, where users show no taste
        told["imputed version"] = 3 if recipe.opposed else 2
    if recipe.paired:  # other couples than in version 1, which took users by their names
        told["paired version"] = 2
    if recipe.opposed:  # whose turn it is depends on how many there are
        told["episodes"] = recipe.episodes
    starts = recipe.adapter if recipe.reference == "start" else None
    told |= {
        "model": of_model(recipe.model),
        "adapter": of_folder(Path(starts)) if starts else None,
        "template": of_template(recipe.template),
        "data": of_rows(preferences),
    }
    name = of_parts(told)
    data = Path(recipe.data)
    beside = data if data.is_dir() else data.parent if data.is_file() else Path()
    return beside / ".fspo" / f"reference-{name}.safetensors"
