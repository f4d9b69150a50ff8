"""Real people's choices: how well a model tells them from a person's first few, on new people.

    python experiments/real_people.py polis DATA --out runs/polis
    python experiments/real_people.py arguments DATA --out runs/arguments

`polis` takes votes on statements (a pair is one that a participant agreed with and one that the
same participant disagreed with), `arguments` choices between two arguments in debates. Training
sees other people, and neither the unseen statements nor the unseen debates. DATA is a folder in our
format; training and the policies' answers are resumed where they were, and the result is printed as
JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from people_splits import SHOTS, STUDIES, Study, read

from fspo.console import say
from fspo.evaluation.answer_cache import AnswerCache, dependencies
from fspo.evaluation.evaluate import versions
from fspo.evaluation.mirroring import mirrored_name, probe_mirrored
from fspo.evaluation.probing import LogOdds, Probe, correct, probe
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.evaluation.stacking import stacked, stacked_name, stacks
from fspo.evaluation.statistics import paired_difference
from fspo.evaluation.summaries import accuracy, by_user, known
from fspo.files import write_json
from fspo.methods.baselines import BASELINES
from fspo.methods.method import Floats, Predictor
from fspo.preferences.records import Preference, User
from fspo.preferences.writing import save_preferences
from fspo.recipe import RECIPES, Lora, TrainRecipe, read_recipe

OURS = "FSPO"
MIRRORED = mirrored_name(OURS)
LINEAR = "logistic on the shots"
STACKED = f"{MIRRORED}, and {LINEAR}"
TOGETHER = stacked_name(MIRRORED)
LEADS = (OURS, MIRRORED, STACKED, TOGETHER)  # of which it is said how far above each they are
WITHOUT = "DPO without users"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


class Plan(NamedTuple):
    """What is done with a set: statements are short, arguments a paragraph each.

    Attributes:
        training: of FSPO; every further run goes on from the one before it.
        counts: numbers of shots that a target is tried after.
    """

    training: Sequence[TrainRecipe]
    counts: list[int]


def shipped(name: str) -> TrainRecipe:
    """A recipe that comes along."""
    return read_recipe(TrainRecipe, RECIPES / f"{name}.yaml", {})


# Residents disagree about statements: who is who is learned first, then what either side likes,
# then what everybody does, twice. Workers agree about most arguments.
PLANS = {
    "polis": Plan(
        [
            shipped("fspo-couples"),
            shipped("fspo-sides"),
            shipped("fspo-people"),
            shipped("fspo-people").model_copy(update={"episodes": 1000, "seed": 2}),
        ],
        [0, 1, 4, 8],
    ),
    "arguments": Plan(
        [
            TrainRecipe(
                objective="dpo",
                beta=0.1,
                imputed=1.0,
                shots=SHOTS,
                episodes=360,
                batch_size=4,
                micro_batch_size=2,
                learning_rate=1.5e-3,
                warmup_steps=8,
                log_every=1,
                save_every=5,
                lora=Lora(rank=16, alpha=16, targets=ATTENTION, last_layers=16),
            )
        ],
        [0, 8],
    ),
}


def placed(recipe: TrainRecipe, out: Path, name: str, **changes: Any) -> TrainRecipe:
    """A recipe on the study's people, for a policy that is kept under a name."""
    return recipe.model_copy(update=changes | {"data": str(out / "data"), "out": str(out / name)})


def trained_policy(out: Path, runs: Sequence[TrainRecipe]) -> Path:
    """FSPO, run after run."""
    from fspo.methods.table import train

    begun: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        name = "policy" if number == len(runs) else f"policy-{number}"
        policy = train(placed(run, out, name, **begun), resume=True)
        begun = {"adapter": str(policy)}
    return policy


def trained_without_users(out: Path, run: TrainRecipe) -> Path:
    """The same training of pairs one by one: without shots, it is what everybody likes it learns.

    It has as many pairs in a step and in all, and labels made in the same way.
    """
    from fspo.methods.table import train

    pairs = run.shots + 1
    changes = {
        "shots": 0,
        "opposed": 0.0,
        "episodes": run.episodes * pairs,
        "batch_size": run.batch_size * pairs,
        "micro_batch_size": run.micro_batch_size * pairs,
    }
    return train(placed(run, out, "policy-without-users", **changes), resume=True)


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


def predictors(
    study: Study, out: Path, policies: Mapping[str, Path]
) -> Iterator[tuple[Predictor, AnswerCache | None]]:
    """Simple baselines and GPO, fitted to the training people, then the policies.

    What a policy says takes long, and is kept.
    """
    from fspo.methods.baselines import baselines
    from fspo.methods.build import methods, trained

    for baseline in baselines([*BASELINES], study.train, seed=0):
        yield baseline, None
    compared = trained([f"{name}={folder}" for name, folder in policies.items()])
    settings = EvaluateRecipe()
    depends = dependencies(compared, settings)
    for predictor in methods(compared, [], settings.sampling):
        kept = AnswerCache(out / "kept", predictor.name, depends(predictor.name))
        yield ForAnybody(predictor) if predictor.name == WITHOUT else predictor, kept


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
    probes: Sequence[Probe], gaps: Mapping[str, Sequence[LogOdds]], counts: Sequence[int]
) -> dict[str, Any]:
    """Every predictor's accuracy by shots, calibration, and our leads over it at all shots.

    Two of ours are stacks: FSPO with the logistic model that is fitted to the shots, and with all
    simple predictors, beside one of them without it.
    """
    hit = {
        name: by_user(probes, [correct(values)[-1] for values in own]) for name, own in gaps.items()
    }
    return {
        "people": len(hit[OURS]),
        "predictors": {
            name: accuracy(probes, own, counts, 0)
            | {"leads": {who: _lead(hit[who], hit[name]) for who in LEADS if who in hit}}
            | {"by_person": _spread(hit[name])}
            for name, own in gaps.items()
        },
    }


def counts_of(study: str, probes: Sequence[Probe]) -> list[int]:
    """The numbers of shots that these are asked after: the study's, and as many as they have."""
    most = max(len(one.shots) for one in probes)
    return sorted({most, *(count for count in PLANS[study].counts if count < most)})


def _lead(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, Any]:
    lead = paired_difference(ours, theirs, np.random.default_rng(0), most=1.0)
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
    parser.add_argument("--policy", type=Path, help="FSPO as trained already, instead")
    parser.add_argument("--without-users", action="store_true", help="train DPO without users, too")
    parser.add_argument("--kinds", nargs="*", help="which questions, such as unseen; default: all")
    given = parser.parse_args()
    from fspo.methods.table import train

    study = STUDIES[given.study](read(given.data), np.random.default_rng(0))
    if unknown := sorted({*(given.kinds or ())} - study.probes.keys()):
        parser.error(f"--kinds: no {unknown[0]!r}; there are {', '.join(study.probes)}")
    if not (given.out / "data").is_dir():
        save_preferences(study.train, given.out / "data", "Real people's choices, to learn from.")
    runs = PLANS[given.study].training
    policies = {OURS: given.policy or trained_policy(given.out, runs)}
    if given.without_users:
        policies[WITHOUT] = trained_without_users(given.out, runs[-1])
    policies["VPL"] = train(vpl_recipe(given.out), resume=True)
    results: dict[str, Any] = {
        "study": given.study,
        "training": {
            "people": len(study.train.by_user),
            "choices": len(study.train),
            "episodes": [run.episodes for run in runs],
        },
        "versions": versions(),
    }
    asked_of = {k: own for k, own in study.probes.items() if not given.kinds or k in given.kinds}
    counts = {kind: counts_of(given.study, own) for kind, own in asked_of.items()}
    gaps: dict[str, dict[str, list[LogOdds]]] = {kind: {} for kind in asked_of}
    for predictor, kept in predictors(study, given.out, policies):
        say(predictor.name)
        for kind, asked in asked_of.items():
            gaps[kind][predictor.name] = told = probe(predictor, asked, counts[kind], kept)
            if predictor.name == OURS:
                turned = probe_mirrored(predictor, asked, counts[kind], told, kept)
                gaps[kind][MIRRORED] = turned
    for kind, own in gaps.items():
        asked = asked_of[kind]
        if kind != "opposed":  # many couples share pairs: others would teach the reverse of them
            own[STACKED] = stacked(asked, [own[MIRRORED], own[LINEAR]])
            own |= stacks(asked, {name: own[name] for name in BASELINES}, {MIRRORED: own[MIRRORED]})
        results[kind] = measured(asked, own, counts[kind])
    write_json(given.out / "results.json", results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
