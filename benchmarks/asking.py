"""Labels needed to know a new user: pairs asked by expected gain, against random order.

    python benchmarks/asking.py DATA POLICY --labels 8 --reach 0.9 --json FILE

POLICY is a folder that `fspo train` wrote; it predicts, and it chooses what to ask. Answers are
what the test users of DATA chose, looked at when a pair is asked. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from machine import machine

from fspo.evaluation.asking import labels_needed, pairs_about
from fspo.evaluation.evaluate import versions
from fspo.evaluation.probing import draw_probes
from fspo.files import write_json
from fspo.methods.build import methods, trained
from fspo.preferences.reading import load_preferences
from fspo.recipe import EvaluateRecipe

TARGETS = 4  # of a user, that accuracy is measured on
ABOUT = 8  # pairs of training users that the expected gain looks at


def main() -> None:
    """Asks every test user in both orders, prints what came out, and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("policy", help="a folder, or NAME=FOLDER")
    parser.add_argument("--labels", type=int, default=8, help="pairs that are asked")
    parser.add_argument("--pool", type=int, default=10, help="pairs that can be asked")
    parser.add_argument("--reach", type=float, default=0.9, help="accuracy to reach")
    parser.add_argument("--draws", type=int, default=1, help="pools for each user")
    parser.add_argument("--users", type=int, default=60, help="at most so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    given = parser.parse_args()
    preferences = load_preferences(given.data)
    people = preferences.of("test")
    probes = draw_probes(
        people,
        list(people.by_user)[: given.users],
        shots=given.pool,
        targets=TARGETS,
        draws=given.draws,
        seed=given.seed,
    )
    [predictor] = methods(trained([given.policy]), [], EvaluateRecipe())
    found = labels_needed(
        predictor,
        probes,
        pairs_about(preferences.of("train"), ABOUT, given.seed),
        labels=given.labels,
        accuracy_to_reach=given.reach,
        seed=given.seed,
    )
    results = found | {
        "users": len({probe.user.user_id for probe in probes}),
        "draws": given.draws,
        "versions": versions(),
        "machine": machine(),
    }
    if given.json:
        write_json(given.json, results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
