"""Win rates' intervals of kept results, as they were written and as they are computed today.

Prints JSON for every file that holds each answer's outcome by user: for each method the number of
users, the win rate, the interval in the file, today's, and by how much the first policy wins more
often, with both intervals. Differences are by prompt, which `by_user` keeps in order.

    python benchmarks/intervals.py benchmarks/results/*.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fspo.evaluation.comparing import difference
from fspo.evaluation.summaries import summary


def measured(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(place, methods, differences) wherever `value` holds methods with outcomes by user."""
    if not isinstance(value, dict):
        return
    methods = value.get("methods")
    if isinstance(methods, dict) and any("by_user" in own for own in methods.values()):
        yield place, methods, value.get("differences") or {}
    for key, held in value.items():
        yield from measured(held, f"{place} {key}".strip())


def again(methods: dict[str, Any], differences: dict[str, Any], seed: int) -> dict[str, Any]:
    """Both intervals of each method, and of its difference from the first policy."""
    outcomes = {name: own["by_user"] for name, own in methods.items() if "by_user" in own}
    subject = next((name for name in outcomes if name not in differences and name != "base"), "")
    found: dict[str, Any] = {}
    for name, own in outcomes.items():
        now = summary(own, seed, "winrate")
        found[name] = {"users": len(own), "winrate": methods[name]["winrate"]}
        found[name] |= {"ci95": methods[name].get("ci95"), "today": now["ci95"]}
        if name in differences and subject:
            lead = difference(outcomes[subject], own, seed)
            found[name] |= {"difference": differences[name], "difference_today": lead}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    found = {}
    for file in given.files:
        results = json.loads(file.read_text(encoding="utf-8"))
        for place, methods, differences in measured(results, ""):
            seed = results.get("seed", 0)
            found[f"{file.name} {place}".strip()] = again(methods, differences, seed)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
