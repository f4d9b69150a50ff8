"""Real people's choices: how well a model tells them from a person's first few, on new people.

    python benchmarks/real_people.py polis DATA --out runs/polis
    python benchmarks/real_people.py arguments DATA --out runs/arguments

`polis` takes votes on statements (a pair is one that a participant agreed with and one that the
same participant disagreed with), `arguments` choices between two arguments in debates. Training
sees other people, and neither the unseen statements nor the unseen debates. DATA is a folder in our
format; training is resumed where it was, and the result is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import machine

from fspo.console import say
from fspo.evaluation.evaluate import versions
from fspo.evaluation.probing import Gaps, Probe, draw_probes, hits, probe
from fspo.evaluation.statistics import paired_difference
from fspo.evaluation.summaries import accuracy, by_user, known
from fspo.files import write_json
from fspo.methods.method import Floats, Predictor
from fspo.preferences.reading import preference_rows
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

TEST_USERS = 0.25
UNSEEN = 0.2  # the share of statements, or of debates, that training does not see
SHOTS = 8
MANY = 16  # shots that those are asked about, too, who have made so many choices
DRAWS = 1  # of shots and targets, for each person
OURS = "FSPO"
WITHOUT = "DPO without users"


class Size(NamedTuple):
    """How much of everything: statements are short, arguments a paragraph each.

    Attributes:
        training: of FSPO.
        counts: numbers of shots that a target is tried after.
        targets: of a person, that every number of shots is tried on.
        people: at most, of each kind of question.
    """

    training: Mapping[str, Any]
    counts: list[int]
    targets: int
    people: int | None


ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]

# Residents disagree about statements; workers agree about most arguments.
SIZES = {
    "polis": Size(
        {"opposed": 0.5, "batch_size": 8, "micro_batch_size": 2, "learning_rate": 2e-3},
        [0, 2, 4, 8],
        6,
        None,
    ),
    "arguments": Size(
        {
            "beta": 0.3,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "lora": Lora(rank=16, alpha=16, last_layers=16),
        },
        [0, 8],
        3,
        100,
    ),
}


class Study(NamedTuple):
    """A set of real people's choices, split.

    Attributes:
        train: whom to learn from.
        probes: of new people, about what training has seen (`seen`) and what it has not (`unseen`),
            after up to `SHOTS` shots; and of statements after up to `MANY`, too.
    """

    train: Preferences
    probes: dict[str, list[Probe]]


def polis(rows: Preferences, generator: np.random.Generator) -> Study:
    """Statements are split, so a person's pairs are made anew from statements of the same kind.

    Any statement that somebody agreed with makes a pair with any that the same person disagreed
    with; as in the source, each statement is used once.
    """
    statements = sorted({text for _, p in rows for text in (p.chosen, p.rejected)})
    hidden = set(_drawn(statements, UNSEEN, generator))
    visible = set(statements) - hidden
    seen = {u: _paired(own, visible, generator) for u, own in rows.by_user.items()}
    unseen = {u: _paired(own, hidden, generator) for u, own in rows.by_user.items()}
    test = sorted(_drawn(sorted(rows.by_user), TEST_USERS, generator))
    train = {user: pairs for user, pairs in seen.items() if user not in test and pairs}
    held_out, targets = Preferences({user: seen[user] for user in test}), SIZES["polis"].targets
    about_seen, many = (
        draw_probes(held_out, test, shots=shots, targets=targets, draws=DRAWS, seed=0)
        for shots in (SHOTS, MANY)
    )
    about_unseen = [
        Probe(User(user), shots, unseen[user][:targets])
        for user in test
        if unseen[user] and len(shots := seen[user][:SHOTS]) == SHOTS
    ]
    probes = {"seen": about_seen, "unseen": about_unseen, f"seen, {MANY} shots": many}
    return Study(Preferences(train), probes)


def _paired(
    own: Sequence[Preference], kept: Collection[str], generator: np.random.Generator
) -> list[Preference]:
    liked = [p.chosen for p in own if p.chosen in kept]
    disliked = [p.rejected for p in own if p.rejected in kept]
    order = generator.permutation(len(disliked))
    # Not strict: what is left over has nothing to be paired with.
    pairs = zip(liked, [disliked[index] for index in order], strict=False)
    return [Preference(own[0].prompt, good, bad) for good, bad in pairs]


def arguments(rows: Preferences, generator: np.random.Generator) -> Study:
    """Debates are split; a person's shots may come from any of them, a target never does."""
    prompts = sorted({p.prompt for _, p in rows})
    debates = sorted({_debate(prompt) for prompt in prompts})
    hidden = set(_drawn(debates, UNSEEN, generator))
    about = {prompt for prompt in prompts if _debate(prompt) in hidden}
    test = set(_drawn(sorted(rows.by_user), TEST_USERS, generator))
    train = {
        user: kept
        for user, own in rows.by_user.items()
        if user not in test and (kept := [p for p in own if p.prompt not in about])
    }
    held_out = Preferences({user: rows.by_user[user] for user in sorted(test)})
    probes, size = {}, SIZES["arguments"]
    for kind, asked in (("seen", set(prompts) - about), ("unseen", about)):
        of_each = {"shots": SHOTS, "targets": size.targets, "draws": DRAWS}
        drawn = draw_probes(held_out, sorted(test), **of_each, seed=0, about=asked)
        order = generator.permutation(len(drawn))[: size.people]
        probes[kind] = [drawn[place] for place in sorted(order)]
    return Study(Preferences(train), probes)


def _debate(prompt: str) -> str:
    return prompt.splitlines()[0]


def _drawn(names: Sequence[str], share: float, generator: np.random.Generator) -> list[str]:
    order = generator.permutation(len(names))
    return [names[index] for index in order[: round(share * len(names))]]


STUDIES: dict[str, Callable[[Preferences, np.random.Generator], Study]] = {
    "polis": polis,
    "arguments": arguments,
}


def read(path: Path) -> Preferences:
    """The choices, without the few between two texts that are the same."""
    by_user: dict[str, list[Preference]] = {}
    for user, preference in preference_rows(path):
        if preference.chosen != preference.rejected:
            by_user.setdefault(user, []).append(preference)
    return Preferences(by_user, source=str(path))


def recipe(out: Path, training: Mapping[str, Any], episodes: int) -> TrainRecipe:
    """How FSPO is trained."""
    return TrainRecipe(
        data=str(out / "data"),
        out=str(out / "policy"),
        objective="dpo",
        beta=0.1,
        shots=SHOTS,
        episodes=episodes,
        warmup_steps=5,
        log_every=1,
        save_every=5,
        lora=Lora(rank=16, alpha=16, targets=ATTENTION, last_layers=16),
    ).model_copy(update=dict(training))


def recipe_without_users(plan: TrainRecipe, out: Path, pairs: int) -> TrainRecipe:
    """Without shots, it is what everybody likes that is learned."""
    told = {"out": str(out / "policy-without-users"), "shots": 0, "episodes": pairs, "opposed": 0.0}
    return plan.model_copy(update=told)


def vpl_recipe(out: Path) -> TrainRecipe:
    """Variational preference learning on the frozen model, which takes a minute or two."""
    return TrainRecipe(
        data=str(out / "data"),
        out=str(out / "vpl"),
        method="vpl",
        shots=SHOTS,
        episodes=19_200,
        batch_size=32,
        micro_batch_size=32,
        learning_rate=1e-3,
        save_every=100,
    )


def predictors(study: Study, out: Path, policies: Mapping[str, Path]) -> Iterator[Predictor]:
    """Simple baselines and GPO, fitted to the training people, then the policies."""
    from fspo.methods.baselines import NAMES, baselines
    from fspo.methods.build import methods, trained
    from fspo.recipe import EvaluateRecipe

    yield from baselines(NAMES, study.train, seed=0)
    named = [f"{name}={folder}" for name, folder in policies.items()]
    for predictor in methods(trained(named), [], EvaluateRecipe()):
        yield ForAnybody(predictor) if predictor.name == WITHOUT else predictor


class ForAnybody:
    """A predictor that is shown no shots, as in its training: after any number it says the same."""

    def __init__(self, predictor: Predictor) -> None:
        self.name, self._predictor = predictor.name, predictor

    def log_odds(
        self,
        user: User,
        shots: Sequence[Preference],
        targets: Sequence[Preference],
        counts: Sequence[int],
    ) -> Floats:
        """Float64 (counts, targets), in nats."""
        return np.repeat(self._predictor.log_odds(user, [], targets, [0]), len(counts), axis=0)


def measured(
    probes: Sequence[Probe], gaps: Mapping[str, Sequence[Gaps]], counts: Sequence[int]
) -> dict[str, Any]:
    """Every predictor's accuracy by shots, calibration, and FSPO's lead over it at all shots."""
    hit = {
        name: by_user(probes, [hits(values)[-1] for values in own]) for name, own in gaps.items()
    }
    ours = hit[OURS]
    return {
        "people": len(ours),
        "predictors": {
            name: accuracy(probes, own, counts, 0)
            | {"lead": _lead(ours, hit[name]), "by_person": _spread(hit[name])}
            for name, own in gaps.items()
        },
    }


def counts_of(study: str, probes: Sequence[Probe]) -> list[int]:
    """The numbers of shots that these are asked after: the study's, and as many as they have."""
    return sorted({*SIZES[study].counts, *(len(one.shots) for one in probes)})


def _lead(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, Any]:
    lead = paired_difference(ours, theirs, np.random.default_rng(0))
    return {"mean": round(lead.mean, 4), "ci95": known((lead.low, lead.high), 4)}


def _spread(hit: dict[str, list[float]]) -> dict[str, float]:
    """Accuracy from person to person: the tenth, the middle and the ninetieth of a hundred."""
    each = [float(np.mean(own)) for own in hit.values()]
    return {f"percentile_{p}": round(float(np.percentile(each, p)), 4) for p in (10, 50, 90)}


def main() -> None:
    """Trains what is not trained yet, measures, prints and keeps the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=440)
    parser.add_argument("--pairs", type=int, default=2000, help="for DPO without users")
    parser.add_argument("--kinds", nargs="*", help="which questions, such as unseen; default: all")
    given = parser.parse_args()
    from fspo.methods.train import train

    study = STUDIES[given.study](read(given.data), np.random.default_rng(0))
    if not (given.out / "data").is_dir():
        save_preferences(study.train, given.out / "data", "Real people's choices, to learn from.")
    plan = recipe(given.out, SIZES[given.study].training, given.episodes)
    policies = {OURS: train(plan, resume=True)}
    if given.pairs:
        without = recipe_without_users(plan, given.out, given.pairs)
        policies[WITHOUT] = train(without, resume=True)
    policies["VPL"] = train(vpl_recipe(given.out), resume=True)
    results: dict[str, Any] = {
        "study": given.study,
        "training": {
            "people": len(study.train.by_user),
            "choices": len(study.train),
            "episodes": given.episodes,
            "pairs_without_users": given.pairs,
        },
        "versions": versions(),
        "machine": machine(),
    }
    asked_of = {k: own for k, own in study.probes.items() if not given.kinds or k in given.kinds}
    counts = {kind: counts_of(given.study, own) for kind, own in asked_of.items()}
    gaps: dict[str, dict[str, list[Gaps]]] = {kind: {} for kind in asked_of}
    for predictor in predictors(study, given.out, policies):
        say(predictor.name)
        for kind, asked in asked_of.items():
            gaps[kind][predictor.name] = probe(predictor, asked, counts[kind])
    for kind, own in gaps.items():
        results[kind] = measured(asked_of[kind], own, counts[kind])
    write_json(given.out / "results.json", results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
