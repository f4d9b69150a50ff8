"""What an episode costs, by how many users there are and how many preferences each has.

    python benchmarks/scale.py --json FILE

The texts are the reviews beside this file, given to as many users as it takes. Once, a run reads
the rows, with `fspo train`'s own reader; then every episode is drawn, tokenized and made into a
tree. What the model does with a tree does not depend on where it was drawn from, and is timed by
`training.py`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contestants import TEXTS
from machine import machine

from fspo import Preference, Preferences, load_model, load_preferences
from fspo.console import say
from fspo.evaluation.evaluate import versions
from fspo.files import write_json
from fspo.learning.episodes import EpisodeDataset
from fspo.preferences.writing import save_preferences
from fspo.recipe import TrainRecipe

# (users, preferences of each)
POINTS = [(users, 16) for users in (16, 160, 1_600, 16_000)]
POINTS += [(16, own) for own in (160, 1_600, 16_000)]
EPISODES = 64
SHOTS = 8


def many(users: int, own: int) -> Preferences:
    """So many users with so many preferences each, from the reviews' own texts."""
    rows = [preference for _, preference in load_preferences(TEXTS)]
    generator = np.random.default_rng(0)

    def preference(number: int) -> Preference:
        row = rows[int(generator.integers(len(rows)))]
        return Preference(f"{row.prompt} ({number})", row.chosen, row.rejected)  # asked once

    return Preferences({f"user-{u}": [preference(n) for n in range(own)] for u in range(users)})


def measured(users: int, own: int, tokenizer: Any) -> dict[str, float]:
    """Seconds to read the rows and get ready, and milliseconds for a pair of an episode."""
    with tempfile.TemporaryDirectory() as folder:
        save_preferences(many(users, own), Path(folder) / "data", "Made for a benchmark.")
        since = time.perf_counter()
        preferences = load_preferences(Path(folder) / "data")
        read = time.perf_counter() - since
    since = time.perf_counter()
    dataset = EpisodeDataset(preferences, tokenizer, TrainRecipe(shots=SHOTS, episodes=EPISODES))
    ready = time.perf_counter() - since
    since = time.perf_counter()
    pairs = sum(len(dataset[k].responses) // 2 for k in range(EPISODES))
    spent = time.perf_counter() - since
    return {
        "users": users,
        "preferences_per_user": own,
        "read_seconds": round(read, 3),
        "ready_seconds": round(ready, 3),
        "milliseconds_per_pair": round(1e3 * spent / pairs, 3),
    }


def main() -> None:
    """Measures every size, prints and keeps what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    given = parser.parse_args()
    _, tokenizer = load_model()
    points = []
    for users, own in POINTS:
        say(f"{users} users with {own} preferences each")
        points.append(measured(users, own, tokenizer))
    results = {"machine": machine(), "versions": versions(), "shots": SHOTS, "points": points}
    print(json.dumps(results, indent=2))
    if given.json:
        write_json(given.json, results)


if __name__ == "__main__":
    main()
