"""Evaluates policies on users that they have not seen, beside other methods, into `results.json`.

Every method is asked which of two answers each user prefers, after 0 to N of the user's choices.
Where there is a judge, it also answers each user's prompts, and what it wrote is compared with what
the base model wrote.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.console import say
from fspo.evaluation import summaries, win_rates
from fspo.evaluation.answer_cache import AnswerCache, dependencies
from fspo.evaluation.answers import answer_tasks
from fspo.evaluation.mirroring import mirrored_name, probe_mirrored
from fspo.evaluation.preparation import Prepared, prepare
from fspo.evaluation.probing import LogOdds, probe
from fspo.evaluation.stacking import stacks
from fspo.evaluation.statistics import INTERVALS
from fspo.files import write_json
from fspo.methods.method import Describer, Method, Task
from fspo.preferences.records import Preferences

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.judging.verdicts import Verdict
    from fspo.llm.build import Builder


@dataclass(frozen=True)
class Responses:
    """The responses of all methods, by the names of reports.

    Attributes:
        log_odds: for each probe, for what the user chose, float64 (counts, targets).
        answers: for each task, one to each prompt.
        descriptions: how near those that a method wrote come to the true ones.
    """

    log_odds: dict[str, list[LogOdds]] = field(default_factory=dict)
    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    descriptions: dict[str, Any] = field(default_factory=dict)


def evaluate(
    data: str | Path,
    policies: Sequence[str | Path],
    out: Path,
    recipe: EvaluateRecipe,
    seed: int = 0,
    trust_domain: bool = False,
) -> dict[str, Any]:
    """Measures preference accuracy by shots and, where there is a judge, win rates over base.

    Args:
        data: a preference dataset.
        policies: folders that `fspo train` wrote, or NAME=FOLDER; the first is the one that the
            results are about.
        out: folder for `results.json` and what methods said.
        recipe: what is measured.
        seed: of the pairs drawn, the answers sampled and the bootstrap.
        trust_domain: whether Python is run of a domain's folder that a judge's YAML file names.

    Returns:
        What is in `results.json`.

    Raises:
        FspoError: if a policy is not there, the users have too few preferences or the judge does
            not know them, or there are no baselines to stack.
    """
    started = time.monotonic()
    prepared = prepare(data, policies, out, recipe, seed, trust_domain)
    responses = ask(prepared, out, seed)
    verdicts = judge(prepared, responses)
    results = summarize(prepared, responses, verdicts, seed)
    results["seconds"] = round(time.monotonic() - started, 1)
    write_json(out / "results.json", results)
    return results


def ask(prepared: Prepared, out: Path, seed: int) -> Responses:
    """Asks each method in turn, and keeps what it says under `out`; only one is in memory."""
    from fspo.methods.build import methods

    recipe, responses = prepared.recipe, Responses()
    depends = dependencies(prepared.policies, recipe)
    compared = prepared.policies, prepared.methods, recipe.sampling, recipe.personal
    for method in methods(*compared):
        caches = [
            AnswerCache(out / folder, method.name, depends(method.name))
            for folder in ("predictions", "answers")
        ]
        responses.log_odds.update(_predict(method, prepared, caches[0]))
        if prepared.described and isinstance(method, Describer):
            responses.descriptions[method.name] = _nearness(method, prepared.tasks)
        if prepared.judge:
            responses.answers[method.name] = answer_tasks(method, prepared.tasks, caches[1], seed)
    responses.log_odds.update(_predict_simply(prepared, responses.log_odds))
    return responses


def _predict(method: Method, prepared: Prepared, cache: AnswerCache) -> dict[str, list[LogOdds]]:
    """Returns what a method predicts and, if asked for, a policy with every shot swapped."""
    recipe, probes, counts = prepared.recipe, prepared.probes, prepared.counts
    is_policy = method.name in {policy.name for policy in prepared.policies}
    if recipe.predict == "none" or (recipe.predict == "policies" and not is_policy):
        return {}
    log_odds = probe(method, probes, counts, cache)
    if not (recipe.mirrored and is_policy):
        return {method.name: log_odds}
    swapped = probe_mirrored(method, probes, counts, log_odds, cache)
    return {method.name: log_odds, mirrored_name(method.name): swapped}


def _predict_simply(
    prepared: Prepared, asked: Mapping[str, list[LogOdds]]
) -> dict[str, list[LogOdds]]:
    """Returns what the baselines predict and, if asked for, stacks of them and each policy."""
    recipe, probes = prepared.recipe, prepared.probes
    simple = {b.name: probe(b, probes, prepared.counts) for b in prepared.baselines}
    if not recipe.stacked:
        return simple
    names = [p.name for p in prepared.policies]
    names = [mirrored_name(name) if recipe.mirrored else name for name in names]
    return simple | stacks(probes, simple, {name: asked[name] for name in names if name in asked})


def judge(prepared: Prepared, responses: Responses) -> dict[str, list[Verdict]]:
    """Compares each method's answers with the base model's; nothing where there is no judge."""
    if prepared.judge is None:
        return {}
    return win_rates.judge_answers(responses.answers, prepared.tasks, prepared.judge)


def summarize(
    prepared: Prepared,
    responses: Responses,
    verdicts: Mapping[str, Sequence[Verdict]],
    seed: int,
) -> dict[str, Any]:
    """Returns what `results.json` holds, but for the time that it took."""
    people, first = prepared.people, prepared.policies[0]
    predictions = {
        name: summaries.accuracy(prepared.probes, log_odds, prepared.counts, seed)
        for name, log_odds in responses.log_odds.items()
    }
    return {
        "judge": "none",
        "methods": {},
        "preference_accuracy": predictions.get(first.name, {"by_shots": {}, "n": 0}),
        "predictions": predictions,
        "descriptions": responses.descriptions,
        "users": {"train": len(people.train.by_user), "test": len(prepared.users)},
        "prompts": {
            "train": len(_prompts(people.train)),
            "test": len(_prompts(people.test) & (people.about or _prompts(people.test))),
        },
        "new": people.new,
        "shots": prepared.recipe.shots,
        "preferences": prepared.preferences,
        "model": first.settings["model"],
        "policies": {policy.name: policy.settings for policy in prepared.policies},
        "evaluation": prepared.recipe.model_dump(),
        "intervals": INTERVALS,
        "seed": seed,
        "versions": versions(),
        "example": None,
    } | _win_rates(prepared, responses, verdicts, seed)


def _win_rates(
    prepared: Prepared,
    responses: Responses,
    verdicts: Mapping[str, Sequence[Verdict]],
    seed: int,
) -> dict[str, Any]:
    judge, tasks, first = prepared.judge, prepared.tasks, prepared.policies[0].name
    if judge is None:
        return {}
    return {
        "judge": judge.name,
        "methods": win_rates.win_rates(responses.answers, verdicts, tasks, seed),
        "differences": win_rates.differences(first, verdicts, tasks, seed),
        "judge_agrees": win_rates.agreement_with_choices(judge, prepared.probes),
        "judging": _spent(prepared.builder),
        "warnings": win_rates.warnings(verdicts[first], tasks, seed),
        "example": win_rates.example(tasks, responses.answers, judge),
    }


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    import platform
    from importlib.metadata import version

    packages = ("fspo", "torch", "transformers", "peft", "vaderSentiment")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _spent(builder: Builder) -> dict[str, Any]:
    """Returns what verdicts took in this run; those kept from an earlier one cost nothing.

    Under `refused` stands how many a server would not give, by its reasons, if any.
    """
    meters = builder.meters.values()
    for line in builder.budget.refusals_told():
        say(line)
    refused = builder.budget.refusals()
    return ({"refused": refused} if refused else {}) | {
        "requests": sum(meter.requests for meter in meters),
        "input_tokens": sum(meter.input_tokens for meter in meters),
        "output_tokens": sum(meter.output_tokens for meter in meters),
        "cost": builder.budget.spent,
    }


def _nearness(method: Describer, tasks: Sequence[Task]) -> dict[str, Any]:
    """Returns how near a method's descriptions come to the true ones, before and after."""
    from fspo.llm.embedding import MiniLM
    from fspo.methods.rat.method import description_similarity

    users = [task.user.user_id for task in tasks]
    true = {task.user.user_id: task.user.description for task in tasks}

    def near(texts: Sequence[str]) -> dict[str, Any]:
        return description_similarity(dict(zip(users, texts, strict=True)), true, MiniLM())

    before = method.describe_before(tasks)
    return near(method.describe(tasks)) | {"before": near(before)["mean"] if before else None}


def _prompts(preferences: Preferences) -> set[str]:
    return {p.prompt for _, p in preferences}
