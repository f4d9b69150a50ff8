"""Whether a local model can label: how far it goes by position, and what refinement does.

    python benchmarks/labeller.py [--model NAME] [--json benchmarks/results/NAME.json]

Users of the roleplay domain are put to the same pairs before and after their descriptions were
refined, in both orders. A labeller that reads gives an entropy well under log 2 = 0.693 nats and a
lean near 0. Replies are kept in a file: a second run costs nothing. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains.described import load_described
from fspo.llm.build import Builder
from fspo.llm.store import Store
from fspo.recipe import EngineRecipe, ModelRecipe
from fspo.synthesis import checks
from fspo.synthesis.consistency import settle
from fspo.synthesis.described import cast_of
from fspo.synthesis.embedding import MiniLM
from fspo.synthesis.engine import prepare
from fspo.synthesis.stage import comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--replies", type=Path, default=Path("labeller.replies.sqlite"))
    parser.add_argument("--json", type=Path, help="where to write what is printed")
    arguments = parser.parse_args()
    from training import machine  # beside this file

    model = ModelRecipe(model=arguments.model)
    recipe = EngineRecipe(
        domain="roleplay",
        users=50,
        questions=50,
        answers_per_question=6,
        views=3,
        max_tokens=90,
        writers=[model],
        thinker=model,
        labeller=model,
        refinements=4,
        remakes=0,
        probes=8,
    )
    domain = load_described("roleplay")
    cast = cast_of(recipe, domain, Builder(Store(arguments.replies)))
    stage = prepare(recipe, domain, cast, MiniLM(), 0)["train"]
    settle(recipe, domain, cast, stage, "train", 0)
    tally = checks.Tally()
    asked = [comparison(member, probe) for member in stage.members for probe in stage.probes]
    for compared, verdict in zip(asked, cast.labeller.label(asked), strict=True):
        tally.add(verdict, compared.first, compared.second)
    found: dict[str, Any] = {
        "machine": machine(),
        "model": arguments.model,
        "users": len(stage.members),
        "pairs": len(stage.probes),
        "entropy": {
            moment: round(float(checks.entropy(probabilities).mean()), 4)
            for moment, probabilities in stage.probabilities.items()
        },
        "sentences_added": round(float(np.mean([len(m.growth.steps) for m in stage.members])), 2),
        **tally.figures(),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
