"""Trains RAT: true descriptions first, then preferences between the model's own.

    out/warm-up/            the policy after learning from chosen responses and true descriptions
    out/descriptions.jsonl  what it then wrote of each training user
    out/                    the policy after the preference objective

A description is preferred to another one of the same user if it is nearer in meaning to the true
one. So that the model says something to choose from, it learns first what a description looks like.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fspo.console import say, track
from fspo.errors import FspoError
from fspo.files import write_text
from fspo.learning.templates import CHAIN
from fspo.learning.train import output_folder, training_data
from fspo.locks import only_run
from fspo.methods.rat import RatSettings
from fspo.methods.rat.episodes import DescribedEpisodes, check_described
from fspo.preferences.records import Preferences

if TYPE_CHECKING:
    from fspo.llm.embedding import Embedder
    from fspo.recipe import TrainRecipe

_USERS_AT_ONCE = 4
_SAME = 1e-6  # cosines that are nearer than this tell nothing apart


def train(recipe: TrainRecipe, resume: bool = False, embed: Embedder | None = None) -> Path:
    """Runs a recipe of `method: rat`; every stage goes on where it was.

    Args:
        recipe: its `objective` is that of the last stage.
        resume: as in `fspo.learning.train.train`.
        embed: tells which description is nearer; by default the embedded sentence model.

    Raises:
        FspoError: as there, or if a user has no description.
    """
    if recipe.template != CHAIN or recipe.shots < 1:
        raise FspoError("method rat: descriptions follow shots of the chain; take template: chain")
    if recipe.lora is None:
        raise FspoError(
            "method rat: its last stage goes on from the adapter of its first; give a lora"
        )
    if recipe.store_reference:
        raise FspoError("store_reference: it is for method fspo, not for rat; leave it out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FspoError("method rat: one process samples descriptions; run it without a launcher")
    with only_run(output_folder(recipe)):
        return _train(recipe, resume, embed)


def _train(recipe: TrainRecipe, resume: bool, embed: Embedder | None) -> Path:
    from fspo.learning.train import train as train_policy
    from fspo.llm.embedding import MiniLM

    preferences, settings = training_data(recipe), recipe.section(RatSettings)
    check_described(preferences)
    out = Path(recipe.out)
    first = recipe.model_copy(
        update={
            "out": str(out / "warm-up"),
            "objective": settings.warm_up_objective,
            "episodes": settings.warm_up,
            "learning_rate": settings.warm_up_learning_rate,
            "batch_size": settings.warm_up_batch_size,
            "micro_batch_size": min(recipe.micro_batch_size, settings.warm_up_batch_size),
        }
    )
    say("RAT, 1 of 3: true descriptions")
    warm = train_policy(first, resume=True, dataset=DescribedEpisodes)
    say("RAT, 2 of 3: descriptions by the model itself")
    written = sampled(preferences, warm, recipe, out / "descriptions.jsonl")
    pairs = nearer_first(written, preferences, embed or MiniLM())
    if not pairs:
        say("the model describes everybody in the same words: no pair of descriptions is left")
    say(f"RAT, 3 of 3: preferences, with pairs of descriptions of {len(pairs)} users")
    last = recipe.model_copy(update={"adapter": str(warm)})
    return train_policy(last, resume, dataset=partial(DescribedEpisodes, pairs=pairs))


def sampled(
    preferences: Preferences, folder: Path, recipe: TrainRecipe, path: Path
) -> dict[str, list[str]]:
    """Descriptions of every training user by a policy, kept in `path` as they come.

    Args:
        preferences: of the training users.
        folder: the policy's.
        recipe: how many, how long, how warm; shots are drawn by its seed.
        path: JSON lines; users who stand there already are not asked about again.
    """
    from fspo.learning.policy import load_policy
    from fspo.methods.rat.method import write_descriptions

    settings = recipe.section(RatSettings)
    drawn = {
        user: preferences.draw(user, recipe.shots, [recipe.seed, 2]).preferences
        for user in sorted(preferences.by_user)
    }
    users = [user for user, shots in drawn.items() if shots]
    found = _read(path, len(users))
    parts = [users[k : k + _USERS_AT_ONCE] for k in range(0, len(users), _USERS_AT_ONCE)]
    waiting = [(number, part) for number, part in enumerate(parts) if part[0] not in found]
    if not waiting:
        return found
    policy = load_policy(folder)
    with path.open("a", encoding="utf-8") as file:
        for number, part in track(waiting, "descriptions", len(waiting)):
            written = write_descriptions(
                policy,
                [drawn[user] for user in part],
                settings.max_tokens,
                samples=settings.samples,
                temperature=settings.temperature,
                seed=recipe.seed * 1_000_003 + number,
            )
            for place, user in enumerate(part):
                own = written[place * settings.samples : (place + 1) * settings.samples]
                found[user] = own
                file.write(json.dumps({"user_id": user, "descriptions": own}) + "\n")
            file.flush()
    return found


def _read(path: Path, users: int) -> dict[str, list[str]]:
    """Returns what was written before of so many users; a part that was cut off is taken away."""
    if not path.is_file():
        return {}
    lines = path.read_bytes().splitlines(keepends=True)
    whole = len(lines) if lines and lines[-1].endswith(b"\n") else len(lines) - 1
    if whole < users:  # users of a part are sampled together
        whole -= whole % _USERS_AT_ONCE
    try:
        if whole < len(lines):
            write_text(path, b"".join(lines[:whole]).decode("utf-8"))
        rows = [json.loads(line) for line in lines[:whole]]
        return {row["user_id"]: list(row["descriptions"]) for row in rows}
    except (ValueError, KeyError, TypeError):
        say(f"{path}: is damaged, so that descriptions are written anew")
        path.unlink()
        return {}


def nearer_first(
    written: Mapping[str, Sequence[str]], preferences: Preferences, embed: Embedder
) -> dict[str, list[tuple[str, str]]]:
    """All pairs of a user's descriptions of which one is nearer to the true one, that one first."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for user, texts in written.items():
        different = sorted(set(texts))
        true = preferences.users[user].description
        cosines = embed(different) @ embed([true])[0]
        ranked = sorted(zip(cosines.tolist(), different, strict=True), reverse=True)
        own = [
            (near, far)
            for place, (high, near) in enumerate(ranked)
            for low, far in ranked[place + 1 :]
            if high - low > _SAME
        ]
        if own:
            pairs[user] = own
    return pairs
