"""A policy's card: what it is, what it was made from, how well it did by then, how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.embedded import EMBEDDED

if TYPE_CHECKING:
    from fspo.preferences.records import Preferences
    from fspo.recipe import TrainRecipe

_ORIGIN = {EMBEDDED: "HuggingFaceTB/SmolLM2-135M-Instruct"}
_METHODS = {
    "rat": "FSPO with user-description rationalization (RAT)",
    "ric": "Rewards-in-Context (RiC)",
    "vpl": "variational preference learning (VPL)",
}
_OBJECTIVES = {
    "ipo": "IPO",
    "dpo": "DPO",
    "sft": "supervised fine-tuning on chosen responses (Pref-FT)",
}
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#|!~])")


def card(
    recipe: TrainRecipe, name: str, preferences: Preferences, log: Sequence[Mapping[str, Any]]
) -> str:
    """Writes a policy's README.md; of a place on this machine it names no more than the last part.

    Args:
        recipe: what it was trained by.
        name: the policy's folder's.
        preferences: what it has learned from.
        log: the lines of `training_log.json`.
    """
    hub = _ORIGIN.get(recipe.model, "" if Path(recipe.model).exists() else recipe.model)
    head = [f"base_model: {json.dumps(hub)}"] if hub else []
    head += ["library_name: peft"] if recipe.lora else []
    head += ["pipeline_tag: text-generation", "tags: [fspo, personalization, preference-learning]"]
    base = f"`{hub}`" if hub else f"a model in a local folder, {_plain(_last(recipe.model))}"
    lines = [
        "---",
        *head,
        "---",
        "",
        f"# {_plain(name)}",
        "",
        f"A policy that `fspo train` wrote: {_method(recipe)}. It reads a few of a person's "
        "choices between two answers, and answers, or ranks answers, as that person would like.",
        "",
        "## What it was made from",
        "",
        f"- Base model: {base}.",
        f"- Data: {_plain(_last(recipe.data))}, {len(preferences)} preferences of "
        f"{len(preferences.by_user)} users{_held_out(recipe)}.",
        f"- Learned: {_weights(recipe)}, over {recipe.episodes} episodes of up to {recipe.shots} "
        f"shots; learning rate {recipe.learning_rate:g}, batch size {recipe.batch_size}, seed "
        f"{recipe.seed}.",
        *([f"- Went on from: {_plain(_last(recipe.adapter))}."] if recipe.adapter else []),
        "",
        "`fspo.json` holds all settings, and fingerprints of data and models; "
        "`learned_from.npz` hashes of whom and what it has learned from.",
        "",
        "## Figures of training",
        "",
        *_figures(log),
        "",
        "These are of users and prompts that it has learned from. How it does on new ones, "
        "`fspo evaluate` says.",
        "",
        "## How to use it",
        "",
        "```bash",
        *_commands(recipe),
        "```",
        "",
        "What it learned is of people like those in the data, asked about the like. Nothing is "
        "known about others until it is measured.",
        "",
    ]
    return "\n".join(lines)


def _method(recipe: TrainRecipe) -> str:
    method = _METHODS.get(recipe.method)
    if recipe.method == "vpl":
        return str(method)
    objective = _OBJECTIVES[recipe.objective]
    if recipe.objective != "sft":
        objective = f"{objective}, beta {recipe.beta:g}"
    if method is None:
        method = "few-shot preference optimization (FSPO)"
    return f"{method}, by {objective}, on the template `{recipe.template}`"


def _weights(recipe: TrainRecipe) -> str:
    if recipe.method == "vpl" and recipe.vpl.frozen:
        return f"encoder and reward, of width {recipe.vpl.hidden}, on the frozen model"
    if recipe.lora is None:
        return "all weights"
    return f"a LoRA adapter of rank {recipe.lora.rank}, alpha {recipe.lora.alpha:g}"


def _held_out(recipe: TrainRecipe) -> str:
    shares = {"users": recipe.holdout_users, "prompts": recipe.holdout_prompts}
    held = [f"{share:.0%} of {what}" for what, share in shares.items() if share]
    return f", with {' and '.join(held)} held out" if held else ""


def _figures(log: Sequence[Mapping[str, Any]]) -> list[str]:
    last = log[-1] if log else {}
    shown = {
        "step": "Optimizer steps",
        "loss": "Loss, at the end",
        "accuracy": "Pairs told rightly, at the end",
    }
    lines = [f"- {title}: {last[key]:.4g}." for key, title in shown.items() if key in last]
    return lines or ["- None: it was too short to be logged."]


def _commands(recipe: TrainRecipe) -> list[str]:
    rank = (
        'fspo rank --policy FOLDER --preferences mine.jsonl --prompt "..." --answer "..." '
        '--answer "..."'
    )
    chat = [] if recipe.method in ("ric", "vpl") else ["fspo chat --policy FOLDER --database me.db"]
    return [rank, *chat, "fspo evaluate --data DATA --policy FOLDER --out results"]


def _last(place: str) -> str:
    """A hub id, or the last part of a path: the rest of it says where somebody lives."""
    return Path(place).resolve().name if Path(place).exists() else place


def _plain(text: str) -> str:
    """Text that is shown as it is, whatever Markdown would make of it."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
