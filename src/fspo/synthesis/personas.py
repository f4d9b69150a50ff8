"""Personas: who the synthetic users are, drawn from a domain's traits and grown by a model.

A seed persona is one value of each trait, said in sentences. From seeds a model thinks up further
people, each shown some of those who are there already (the paper's iterative persona generation);
who resembles somebody too much is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fspo.domains.domain import Domain, Example, Trait, Value
from fspo.errors import FspoError
from fspo.llm.requests import LanguageModel, Request, ask
from fspo.synthesis.embedding import Embedder, Unlike
from fspo.synthesis.quoting import one_line, whole_sentences

SHOWN = 4  # people that the model is shown before it thinks up another
ALIKE = 0.97  # two descriptions of a higher cosine similarity are of the same person
ROUNDS = 4  # how often the model is asked for the people that are still missing
LONGEST = 60  # words in a grown description


@dataclass(frozen=True)
class Persona:
    """Somebody who does not exist.

    Attributes:
        description: who it is, in sentences.
        traits: trait -> value; empty for one that a model thought up.
        wants: measure -> what an answer should measure, to this persona.
        importance: measure -> how much it matters, where that is not 1.
        ask: how a writer is asked for what suits this persona; empty: told who it is.
        examples: answers that suit this persona, to show to a writer.
        kind: "seed", "between" (a trait's value lies between two), "grown", or what the domain
            calls it.
    """

    description: str
    traits: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, float] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    ask: str = ""
    examples: Sequence[Example] = ()
    kind: str = "seed"


def seed_personas(
    domain: Domain,
    count: int,
    generator: np.random.Generator,
    *,
    between: float = 0.0,
    only: Mapping[str, Sequence[str]] | None = None,
) -> list[Persona]:
    """Draws different personas from the domain's traits, evenly over the first trait's values.

    Args:
        domain: whose traits.
        count: how many.
        generator: draws them.
        between: the share of those whose ordered traits lie between two neighboring values.
        only: trait -> the values in use.

    Raises:
        FspoError: if `only` names what there is not, or the traits do not give so many people.
    """
    traits = [_restricted(trait, (only or {}).get(trait.name)) for trait in domain.traits]
    _check_known(domain, only or {})
    if between and not any(trait.ordered and len(trait.values) > 1 for trait in traits):
        raise FspoError(f"{domain.name}: no trait is ordered, so nobody can stand between values")
    halfway = round(count * between)
    drawn: dict[str, Persona] = {}
    for tries in range(50 * count + 50):
        is_between = len(drawn) >= count - halfway
        persona = _draw(traits, tries, is_between, generator)
        drawn.setdefault(persona.description, persona)
        if len(drawn) == count:
            return list(drawn.values())
    raise FspoError(
        f"{domain.name}: its traits give only {len(drawn)} different users or so, and {count} are "
        "asked for. Ask for fewer `users`, let a model add some (`grown_users`), or add traits."
    )


def listed_personas(domain: Domain, test_only: bool = False) -> list[Persona]:
    """Returns the personas that the domain lists: all users', or those of test users alone."""
    return [
        Persona(p.description, {}, p.wants, p.importance, p.ask, p.examples, p.kind)
        for p in domain.personas
        if p.test_only == test_only
    ]


def _draw(
    traits: Sequence[Trait], turn: int, between: bool, generator: np.random.Generator
) -> Persona:
    said: list[str] = []
    values: dict[str, str] = {}
    wants: dict[str, float] = {}
    examples: list[Example] = []
    for number, trait in enumerate(traits):
        if between and trait.ordered and len(trait.values) > 1:
            value = _between(trait.values, generator)
        elif number == 0:  # in turn, so that none of its values is rare
            value = trait.values[turn % len(trait.values)]
        else:
            weights = np.array([value.weight for value in trait.values])
            value = trait.values[generator.choice(len(weights), p=weights / weights.sum())]
        if generator.random() < trait.chance:
            said.append(trait.sentence.replace("{}", value.value))
            values[trait.name] = value.value
            wants |= value.wants
            examples += value.examples
    kind = "between" if between else "seed"
    return Persona(" ".join(said), values, wants, examples=examples, kind=kind)


def _between(values: Sequence[Value], generator: np.random.Generator) -> Value:
    place = int(generator.integers(len(values) - 1))
    low, high = values[place : place + 2]
    wants = {
        name: (low.wants[name] + high.wants[name]) / 2 for name in low.wants if name in high.wants
    }
    return Value(
        value=f"somewhere between {low.value} and {high.value}",
        wants=wants,
        examples=[*low.examples, *high.examples],
    )


def _restricted(trait: Trait, values: Sequence[str] | None) -> Trait:
    if values is None:
        return trait
    known = {value.value: value for value in trait.values}
    for value in values:
        if value not in known:
            raise FspoError(
                f"only.{trait.name}: there is no value {value!r}; there are "
                f"{', '.join(map(repr, known))}"
            )
    return trait.model_copy(update={"values": [known[value] for value in values]})


def _check_known(domain: Domain, only: Mapping[str, Sequence[str]]) -> None:
    names = [trait.name for trait in domain.traits]
    for name in only:
        if name not in names:
            raise FspoError(f"only: {domain.name} has no trait {name!r}; it has {', '.join(names)}")


def grow_personas(
    seeds: Sequence[Persona],
    count: int,
    model: LanguageModel,
    embedder: Embedder,
    generator: np.random.Generator,
) -> list[Persona]:
    """Lets a model think up to `count` further people, unlike each other and all of `seeds`.

    Who comes out of one round may be shown in the next. If the model runs out of ideas within
    `ROUNDS` rounds, there are fewer.
    """
    people, grown = list(seeds), list[Persona]()
    unlike = Unlike(embedder, ALIKE)
    unlike.keep([persona.description for persona in seeds])
    for turn in range(ROUNDS):
        missing = count - len(grown)
        if missing <= 0:
            break
        requests = [_grow_request(people, turn, generator) for _ in range(missing)]
        replies = ask(model, requests, "Thinking up users")
        texts = [text for reply in replies if (text := read_description(reply.text))]
        for text in unlike.keep(texts)[:missing]:
            grown.append(Persona(text, kind="grown"))
        people = [*seeds, *grown]
    return grown


def _grow_request(people: Sequence[Persona], turn: int, generator: np.random.Generator) -> Request:
    shown = generator.choice(len(people), size=min(SHOWN, len(people)), replace=False)
    listed = "\n".join(f"- {people[place].description}" for place in shown)
    question = (
        "Here are short descriptions of people, one on each line.\n"
        f"{listed}\n"
        "Write one more line in the same form, about somebody who is quite unlike all of them. "
        "Write only the description."
    )
    return Request((("user", question),), max_tokens=110, seed=turn, purpose="users")


def read_description(text: str) -> str | None:
    """The description in a model's answer, on one line, or None if there is none."""
    line = next(_content_lines(text), "")
    description = one_line(" ".join(sentence.strip() for sentence in whole_sentences(line)))
    words = description.split()
    if not 6 <= len(words) <= LONGEST or re.match(r"(sure|here|i'm sorry|as an)\b", line, re.I):
        return None
    return description


def _content_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if stripped := re.sub(r"^\s*([-*•]|\d+[.)])\s*", "", line).strip(' "*_'):
            yield stripped
