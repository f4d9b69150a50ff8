"""Time to the first token for a known person: with the prefix kept, against reading it anew.

    python benchmarks/first_token.py [--data FOLDER] [--json FILE]

People are users of a dataset of preferences, by default the reviews beside this file; each has
chosen 8 times, and asks one question after the other. Both ways take turns in one process, on the
same questions. What is printed is JSON; times are in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

from fspo.assistant.backend import Person
from fspo.assistant.local import LocalBackend
from fspo.embedded import EMBEDDED
from fspo.evaluation.evaluate import versions
from fspo.files import write_json
from fspo.llm.sampling import Sampling
from fspo.preferences.reading import load_preferences
from fspo.preferences.records import Preferences

SHOTS = 8
REVIEWS = Path(__file__).parent / "reviews"


def main() -> None:
    """Measures, prints what came out, and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default=EMBEDDED, help="a model, or what `fspo train` wrote")
    parser.add_argument("--data", type=Path, default=REVIEWS)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--questions", type=int, default=3, help="that each person asks")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    given = parser.parse_args()
    backend = LocalBackend(given.model)
    people = drawn(load_preferences(given.data), given.people, given.questions)
    first_token(backend, *people[0])  # what is set up once is not what is measured
    rows = [measured(backend, person, question) for person, own in people for question in own[1:]]
    results = summed_up(rows) | {
        "model": given.model,
        "data": given.data.name,
        "shots": SHOTS,
        "load": os.getloadavg()[0],  # of other programs, too
        "versions": versions(),
        "machine": machine(),
    }
    if given.json:
        write_json(given.json, results)
    print(json.dumps(results, indent=2))


def drawn(data: Preferences, people: int, questions: int) -> list[tuple[Person, list[str]]]:
    """People with their choices, and what each asks: the first question is not measured."""
    chosen = []
    for name in list(data.by_user)[:people]:
        rows = data.by_user[name]
        asked = [row.prompt for row in rows[SHOTS : SHOTS + questions + 1]]
        chosen.append((Person(name, rows[:SHOTS]), asked))
    return chosen


def measured(backend: LocalBackend, person: Person, question: str) -> dict[str, float]:
    """One question both ways: of a person who is not known, and right after that."""
    backend.forget(person.key)
    anew, _, _ = first_token(backend, person, [question])
    kept, prefix, read = first_token(backend, person, [question + " "])
    return {"anew": anew, "kept": kept, "prefix_tokens": prefix, "prompt_tokens": read}


def first_token(
    backend: LocalBackend, person: Person, questions: list[str]
) -> tuple[float, int, int]:
    """Seconds until something of an answer is there; how many tokens were known, of how many."""
    start = time.perf_counter()
    reply = backend.reply(
        person,
        [{"role": "user", "content": questions[0]}],
        Sampling(max_tokens=1, temperature=0),
    )
    "".join(reply.pieces)  # one token
    return time.perf_counter() - start, reply.cached_tokens, reply.prompt_tokens


def summed_up(rows: list[dict[str, float]]) -> dict[str, Any]:
    """The medians over all questions, and the ratio of each question's two times."""
    ratios = [row["anew"] / row["kept"] for row in rows]
    return {
        "questions": len(rows),
        **{name: round(median(row[name] for row in rows), 4) for name in rows[0]},
        "sooner": round(median(ratios), 2),
        "sooner_least": round(min(ratios), 2),
        "sooner_most": round(max(ratios), 2),
    }


if __name__ == "__main__":
    main()
