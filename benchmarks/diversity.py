"""How alike the answers to a question are, by what makes them differ: the paper's table, small.

    python benchmarks/diversity.py [--json benchmarks/results/NAME.json]

The same questions, the same number of answers to each, written by the embedded model. There is one
model here, so the ensemble is that model at three temperatures. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains.domain import load_domain
from fspo.llm.ensemble import Ensemble, Member
from fspo.llm.local import LocalModel
from fspo.llm.local_chat import LocalChat
from fspo.models import load_model
from fspo.synthesis.answers import write_answers
from fspo.synthesis.checks import similarity
from fspo.synthesis.embedding import MiniLM
from fspo.synthesis.personas import seed_personas
from fspo.synthesis.prompts import Question

# How answers differ, the temperatures of the members, and the paper's mean, with models of 27B and
# 70B parameters.
WAYS: dict[str, tuple[str, Sequence[float], float | None]] = {
    "one model, temperature 0.3": ("none", [0.3], 0.96),
    "one model, temperature 0.7": ("none", [0.7], None),
    "one model, temperature 1.0": ("none", [1.0], 0.94),
    "persona steering, temperature 0.3": ("personas", [0.3], None),
    "persona steering, temperature 0.7": ("personas", [0.7], None),
    "persona steering, temperature 1.0": ("personas", [1.0], 0.81),
    "views, temperature 0.3": ("views", [0.3], None),
    "views, temperature 0.7": ("views", [0.7], None),
    "views, temperature 1.0": ("views", [1.0], 0.78),
    "ensemble and views": ("views", [0.7, 1.0, 1.3], 0.71),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write what is printed")
    parser.add_argument("--only", default="", help="the ways whose names contain this")
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--answers", type=int, default=6)
    arguments = parser.parse_args()
    from machine import machine  # beside this file

    roleplay = load_domain("roleplay")
    topics = list(roleplay.questions)
    questions = [
        Question(roleplay.questions[topics[n % len(topics)]][n // len(topics)], "", "curated")
        for n in range(arguments.questions)
    ]
    personas = seed_personas(roleplay, 50, np.random.default_rng(0))
    model = LocalChat("smollm2-135m-instruct", lambda: LocalModel(*load_model()))
    found: dict[str, Any] = {}
    for name, (diversity, temperatures, papers) in WAYS.items():
        if arguments.only not in name:
            continue
        start = time.perf_counter()
        answers = write_answers(
            roleplay.model_copy(update={"diversity": diversity}),
            questions,
            personas,
            Ensemble([Member(model, temperature=warm) for warm in temperatures]),
            each=arguments.answers,
            views=arguments.answers,
            max_tokens=90,
            generator=np.random.default_rng(1),
        )
        found[name] = {
            **similarity(answers, MiniLM()),
            "answers": sum(map(len, answers.values())),
            "the_papers_mean": papers,
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(name, found[name], flush=True)
    settings = {"questions": arguments.questions, "answers": arguments.answers, "max_tokens": 90}
    text = json.dumps({"machine": machine(), "settings": settings, "ways": found}, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
