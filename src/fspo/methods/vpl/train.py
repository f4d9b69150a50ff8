"""Trains a latent reward (VPL) on transformers.Trainer.

    fspo train recipes/vpl-reviews.yaml --data reviews --out runs/vpl

An episode is some of a user's preferences; a random number of them, from none to all but one, are
shots, and the others targets. With `vpl.frozen` every answer is read once, before the first step;
otherwise a LoRA adapter learns along with encoder and reward. The folder holds `vpl.safetensors`,
the adapter if there is one, `fspo.json` and `training_log.json`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fspo.console import say, track
from fspo.errors import FspoError
from fspo.learning.adapters import new_adapter
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.policy import SETTINGS
from fspo.learning.resumable import ResumableTrainer, faults_of_writing_named
from fspo.learning.settings import settings_taken, training_arguments
from fspo.learning.train import finish, output_folder, prepare, run, training_data
from fspo.learning.trainer import ProgressLog
from fspo.learning.weights import load_weights, save_weights, whole_files
from fspo.locks import only_run
from fspo.methods.vpl import VplSettings
from fspo.methods.vpl.embeddings import CachedReader, Read, both_answers, embed
from fspo.methods.vpl.latent import WEIGHTS, Bound, LatentReward, width
from fspo.models import load_model
from fspo.preferences.records import Preference, Preferences
from fspo.recipe import TrainRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_READ_AT_ONCE = 64


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Runs a recipe of method vpl to its end; arguments and faults as `learning.train.train`."""
    _check(recipe)
    with only_run(output_folder(recipe)):
        return _train(recipe, resume)


def _train(recipe: TrainRecipe, resume: bool) -> Path:
    preferences = training_data(recipe)
    out = prepare(recipe, resume, preferences)
    if (out / SETTINGS).is_file():
        say(f"{out}: trained already")
        return out
    model, tokenizer = load_model(recipe.model)
    episodes = EpisodeDataset(preferences, tokenizer, recipe)
    if episodes.left_out:
        say(f"{episodes.left_out} users are left out, who have too few preferences")
    learner = _learner(recipe, model, tokenizer, _drawn(episodes))
    with settings_taken(recipe):
        trainer = VplTrainer(
            learner,
            recipe.section(VplSettings).annealing,
            args=training_arguments(recipe, out),
            train_dataset=Draws(episodes, recipe),
            data_collator=lambda draws: {"draws": draws},
            callbacks=[ProgressLog()],
        )
    run(trainer, recipe, out, resume)
    if trainer.is_world_process_zero():
        with faults_of_writing_named(out):
            trainer.learner.save(out)
            finish(trainer, recipe, out, preferences)
    return out


@dataclass(frozen=True, eq=False)  # Trainer takes named tuples apart
class Draw:
    """One user's shots and targets, and the noise that samples z."""

    user_id: str
    shots: Sequence[Preference]
    targets: Sequence[Preference]
    noise: Tensor


class Draws:
    """The recipe's episodes, split at random; the i-th depends on the seed and i alone.

    Users whom the recipe pairs have as many shots as each other.
    """

    def __init__(self, episodes: EpisodeDataset, recipe: TrainRecipe) -> None:
        self._episodes, self._recipe = episodes, recipe
        self._latent = recipe.section(VplSettings).latent

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Draw:
        recipe = self._recipe
        episode = self._episodes.episode(index)
        rows = episode.preferences
        together = index // 2 if recipe.paired or recipe.opposed else index
        shots = int(np.random.default_rng([recipe.seed, together, 0]).integers(len(rows)))
        noise = np.random.default_rng([recipe.seed, index, 1]).standard_normal(self._latent)
        return Draw(episode.user_id, rows[:shots], rows[shots:], torch.from_numpy(noise).float())


class Learner(nn.Module):
    """The module that learns: a latent reward and, unless frozen, the reading model's adapter.

    Attributes:
        reward: the latent reward.
        model: the language model whose adapter learns, or None.
        weight: of the divergence; the trainer raises it as the recipe says.
    """

    def __init__(self, reward: LatentReward, read: Read, model: Any, weight: float) -> None:
        super().__init__()
        self.reward = reward
        self.model = model
        self.weight = weight
        self._read = read

    def forward(self, draws: Sequence[Draw]) -> list[Bound]:
        """The evidence lower bound of each draw; all their answers are read together."""
        asked = [both_answers(draw.user_id, [*draw.shots, *draw.targets]) for draw in draws]
        read = self._read([one for own in asked for one in own])
        bounds = []
        for draw, states in zip(draws, read.split([len(own) for own in asked]), strict=True):
            pairs = states.view(-1, 2, states.shape[-1])
            shots, targets = pairs.split([len(draw.shots), len(draw.targets)])
            noise = draw.noise.to(pairs.device)
            bounds.append(self.reward.bound(shots, targets, noise, self.weight))
        return bounds

    def save(self, folder: Path) -> None:
        """Writes the weights that learn, as safetensors."""
        from safetensors.torch import save_file

        with whole_files(folder) as unfinished:
            save_file(self.reward.state_dict(), unfinished / WEIGHTS)
        if self.model is not None:
            save_weights(self.model, folder)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        from safetensors.torch import load_file

        self.reward.load_state_dict(load_file(folder / WEIGHTS))
        if self.model is not None:
            load_weights(self.model, folder)


class VplTrainer(ResumableTrainer):
    """Trainer with the evidence lower bound as its objective.

    The weight of the divergence rises from 0 over the first share `annealing` of the steps. Before
    the reward reads z, nothing but the divergence pulls at it, and it may stay at the prior for
    good (Bowman et al., arXiv 1511.06349, section 3.1).
    """

    def __init__(self, learner: Learner, annealing: float, **kwargs: Any) -> None:
        super().__init__(model=learner, **kwargs)
        self.learner = learner
        self._weight, self._annealing = learner.weight, annealing
        self._seen: dict[str, list[float]] = defaultdict(list)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Any:
        """The mean over the batch's draws."""
        draws: Sequence[Draw] = inputs["draws"]
        risen = self._annealing * self.state.max_steps
        self.learner.weight = self._weight * min(1.0, self.state.global_step / max(1.0, risen))
        bounds: Sequence[Bound] = model(draws)
        loss = torch.stack([bound.loss for bound in bounds]).mean()
        if not torch.isfinite(loss):
            raise FspoError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()} on the episodes of "
                f"{', '.join(repr(draw.user_id) for draw in draws)}; the last checkpoint is good. "
                "Take a lower learning_rate."
            )
        self._note(draws, bounds)
        return (loss, {}) if return_outputs else loss

    def _note(self, draws: Sequence[Draw], bounds: Sequence[Bound]) -> None:
        for draw, bound in zip(draws, bounds, strict=True):
            right = (bound.margins > 0).float().tolist()
            self._seen["accuracy"] += right
            self._seen[f"accuracy_{len(draw.shots)}_shots"] += right
            if draw.shots:
                self._seen["kl"].append(bound.kl.item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was seen since the last line: accuracy by shots, and the divergence in nats."""
        if "loss" in logs:
            logs |= {name: sum(values) / len(values) for name, values in self._seen.items()}
            self._seen.clear()
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.learner.save(Path(str(output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.learner.load(Path(resume_from_checkpoint))


def _check(recipe: TrainRecipe) -> None:
    if recipe.adapter:
        raise FspoError("adapter: method vpl starts from a model without one; leave it out")
    if not recipe.section(VplSettings).frozen and recipe.lora is None:
        raise FspoError("lora: method vpl trains an adapter, or with vpl.frozen nothing but itself")


def _learner(
    recipe: TrainRecipe,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    preferences: Preferences,
) -> Learner:
    """Returns what learns from these preferences."""
    settings = recipe.section(VplSettings)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        reward = LatentReward(width(model), settings)
    learning = None if settings.frozen else new_adapter(model, recipe)
    read: Read = partial(
        embed,
        learning or model,
        tokenizer,
        template=recipe.template,
        max_length=recipe.max_length,
    )
    if settings.frozen:
        read = _all_read(CachedReader(read), preferences)
    return Learner(reward, read, learning, settings.kl)


def _drawn(episodes: EpisodeDataset) -> Preferences:
    """Returns what the episodes hold, which of a large dataset is little."""
    by_user: dict[str, dict[Preference, None]] = {}
    for index in range(len(episodes)):
        episode = episodes.episode(index)
        by_user.setdefault(episode.user_id, {}).update(dict.fromkeys(episode.preferences))
    return Preferences({user: list(own) for user, own in by_user.items()})


def _all_read(read: CachedReader, preferences: Preferences) -> CachedReader:
    """`read`, which knows all answers by now: in this order, so that a resumed run rounds alike."""
    asked = [one for user, own in preferences.by_user.items() for one in both_answers(user, own)]
    different = list({(one.prompt, one.answer): one for one in asked}.values())
    parts = [different[k : k + _READ_AT_ONCE] for k in range(0, len(different), _READ_AT_ONCE)]
    for part in track(parts, "reading answers", len(parts)):
        read(part)
    return read
