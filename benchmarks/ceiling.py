"""How often anybody could win a table of measures: what the data's own answers would.

    python benchmarks/ceiling.py runs/paper-elix/seed-0/easy easy --judge elix [--json FILE]

A judge that measures prefers whatever comes nearer to a user's wishes, and base comes near to some
users by itself. For each new user of a column of `fspo paper`, the answers in the data to each
question stand against the answers that base wrote in that evaluation:

- `chosen`: those that this user chose; a policy that imitates them perfectly wins so often.
- `best`: for each question the one that the judge itself likes best; more than choosing among as
  many answers can win.

What is printed is JSON: the win rates in percent, over all users and by what they want.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo.evaluation.judges import domain_utility
from fspo.evaluation.statistics import win_rate
from fspo.evaluation.winrate import Utility, outcome
from fspo.files import write_json
from fspo.preferences.reading import load_preferences
from fspo.preferences.records import User


def won(user: User, answers: Sequence[str], base: Sequence[str], utility: Utility) -> float:
    """How often any of these answers wins against any of base's, in percent; a tie is half."""
    return win_rate(outcome(utility, user, ours, other) for ours in answers for other in base)


def best(user: User, answers: Mapping[str, Sequence[str]], utility: Utility) -> list[str]:
    """For each question the answer that is worth most to the user."""
    return [max(own, key=lambda text: utility(user.attributes, text)) for own in answers.values()]


def ceilings(part: Path, column: str, judge: str) -> dict[str, Any]:
    """The win rates of each new user, and their means, all in percent."""
    folder = part / "results" / column
    users = _json(folder / "results.json")["methods"]["base"]["by_user"]
    kept = [_json(file) for file in sorted((folder / "answers" / "base").glob("*.json"))]
    base = [text for batch in kept for own in batch for text in own]
    data = load_preferences(part / "data")
    written: dict[str, dict[str, None]] = defaultdict(dict)
    for _, row in data:
        written[row.prompt] |= {row.chosen: None, row.rejected: None}
    answers = {prompt: list(texts) for prompt, texts in written.items()}
    utility = domain_utility(judge)
    by_want: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for user_id in users:
        user = data.users[user_id]
        chosen = [row.chosen for row in data.by_user[user_id]]
        by_want[_wants(user)].append(
            (
                won(user, chosen, base, utility),
                won(user, best(user, answers, utility), base, utility),
            )
        )
    return {
        "answers": {
            "base": len(base),
            "each question": float(np.median([*map(len, answers.values())])),
        },
        "all": _means([rates for own in by_want.values() for rates in own]),
        "by_want": {want: _means(own) for want, own in sorted(by_want.items())},
    }


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _wants(user: User) -> str:
    """What sets a user's wishes apart: `wants` and `importance`, or else all numbers known."""
    known = user.attributes
    numbers = {key: value for key, value in known.items() if isinstance(value, float)}
    wanted = {key: known[key] for key in ("wants", "importance") if key in known}
    return json.dumps(wanted or numbers)


def _means(rates: Sequence[tuple[float, float]]) -> dict[str, float]:
    chosen, highest = np.mean(rates, axis=0)
    return {"users": len(rates), "chosen": round(chosen, 1), "best": round(highest, 1)}


def main() -> None:
    """Measures, prints what came out, and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", type=Path, help="folder of a seed's part, with data and results")
    parser.add_argument("column", help="whose base answers")
    parser.add_argument("--judge", default="elix", help="a domain with measures")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    given = parser.parse_args()
    results = given.part / "results" / given.column / "results.json"
    if not results.is_file():
        parser.error(f"{results}: is not there; let `fspo paper` finish this column")
    found = ceilings(given.part, given.column, given.judge)
    if given.json:
        write_json(given.json, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
