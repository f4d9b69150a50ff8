"""The engine run on the small domain, with models that answer at once by a rule."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fspo.domains.domain import Domain, load_domain
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.requests import LanguageModel, Reply, Request
from fspo.recipe import SynthesizeRecipe
from fspo.synthesis.engine import make
from fspo.synthesis.judging import MeasuredLabeller, ModelLabeller
from fspo.synthesis.stage import Cast

SETTINGS = {"users": 20, "questions": 20, "answers_per_question": 4, "preferences_per_user": 6}


def run(
    folder: Path, out: Path, model: LanguageModel, seed: int = 0, **settings: object
) -> tuple[dict, Domain]:
    domain = load_domain(str(folder))
    recipe = SynthesizeRecipe.model_validate(SETTINGS | {"domain": str(folder)} | settings)
    measured = recipe.labeller == "measured"
    labeller = (
        MeasuredLabeller(domain, recipe.margin, recipe.liked)
        if measured
        else ModelLabeller(model, domain.guidelines)
    )
    return make(recipe, domain, Cast(model, model, labeller), pretend_embedder, out, seed), domain


class Partial:
    """A labeller's model that prefers the answer with more letters "e", in some users' eyes."""

    name = "partial"
    of_one_mind: tuple[str, ...] = ("likes short",)

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        plain = Pretend()
        for place, request in enumerate(requests):
            if not request.choices:
                [[(_, reply)]] = plain.answer([request])
                yield [(place, reply)]
                continue
            text = request.messages[1][1]
            first, second = text.split("Answer A:\n")[1].split("Answer B:\n")
            second = second.split("Which answer")[0]
            p = 0.9 if (first.count("e"), first) > (second.count("e"), second) else 0.1
            if any(said in request.messages[0][1] for said in self.of_one_mind):
                p = 1 - p
            yield [(place, Reply("A" if p > 0.5 else "B", self.name, 1, 1, (p, 1 - p)))]


class Varied:
    """A writer whose answers have from 4 to 33 words."""

    name = "varied"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        for place, request in enumerate(requests):
            key = request.key(self.name)
            words = [f"w{byte}" for byte in (key * 3)[: 3 + key[0] % 30]]
            yield [(place, Reply(f"Indeed {' '.join(words)}.", self.name))]
