"""Whether a local model can label: how far it goes by position, and what refinement does.

    python benchmarks/labeller.py [--by likelihood] [--json benchmarks/results/NAME.json]

Users of the roleplay domain are put to the same pairs before and after their descriptions were
refined, in both orders. A labeller that reads gives an entropy well under log 2 = 0.693 nats and a
lean near 0. With `--by likelihood` nobody is asked: the answer is preferred whose log-probability
gains more by the user's description. Replies are kept in a file: a second run costs nothing. What
is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains.domain import load_domain
from fspo.llm.build import Builder
from fspo.llm.store import Store
from fspo.models import load_model
from fspo.recipe import ModelRecipe, SynthesizeRecipe
from fspo.synthesis import checks
from fspo.synthesis.consistency import settle
from fspo.synthesis.embedding import MiniLM
from fspo.synthesis.engine import prepare
from fspo.synthesis.judging import Comparison, Verdict
from fspo.synthesis.run import cast_of
from fspo.synthesis.stage import comparison


class Likelihood:
    """Prefers the answer that the user's description makes likelier, against no description."""

    def __init__(self, name: str) -> None:
        self._model, self._tokenizer = load_model(name)
        self._gaps: dict[tuple[str, str, str, str], float] = {}

    def label(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Nothing is drawn: every draw is the same."""
        return [Verdict("clear", 1 / (1 + exp(-self._gain(c)))) for c in comparisons]

    def _gain(self, c: Comparison) -> float:
        """By how many nats more the first answer gains."""
        told = self._gap(f"Answer.\nWrite for this reader: {c.reader.description}", c)
        return told - self._gap("Answer.", c)

    def _gap(self, system: str, c: Comparison) -> float:
        key = (system, c.question, c.first, c.second)
        if key not in self._gaps:
            self._gaps[key] = self._logp(system, c.question, c.first) - self._logp(
                system, c.question, c.second
            )
        return self._gaps[key]

    def _logp(self, system: str, question: str, answer: str) -> float:
        import torch

        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        prompt = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        tokens = self._tokenizer(answer, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = self._model(input_ids=torch.tensor([prompt + tokens])).logits[0]
        logps = logits[len(prompt) - 1 : -1].log_softmax(-1)
        return float(logps.gather(1, torch.tensor(tokens)[:, None]).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--by", choices=("asking", "likelihood"), default="asking")
    parser.add_argument("--replies", type=Path, default=Path("labeller.replies.sqlite"))
    parser.add_argument("--json", type=Path, help="where to write what is printed")
    arguments = parser.parse_args()
    from machine import machine  # beside this file

    model = ModelRecipe(model=arguments.model)
    recipe = SynthesizeRecipe(
        domain="roleplay",
        users=50,
        questions=50,
        answers_per_question=6,
        views=3,
        max_tokens=90,
        writers=[model],
        thinker=model,
        labeller=model,
        guidelines=arguments.by == "asking",
        refinements=4,
        remakes=0,
        probes=8,
    )
    domain = load_domain("roleplay")
    cast = cast_of(recipe, domain, Builder(Store(arguments.replies)))
    if arguments.by == "likelihood":
        cast = cast._replace(labeller=Likelihood(arguments.model))
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
        "by": arguments.by,
        "disagreement": {
            moment: round(float(checks.mean_disagreement(checks.disagreement(p)).mean()), 4)
            for moment, p in stage.probabilities.items()
        },
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
