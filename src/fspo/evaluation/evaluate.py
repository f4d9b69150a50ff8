"""Evaluates policies on users that they have not seen, beside other methods, into `results.json`.

Every method is asked which of two answers each user prefers, after 0 to N of the user's choices.
Where there is a judge, it also answers each user's prompts, and what it wrote is compared with what
the base model wrote.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.console import say
from fspo.errors import FspoError
from fspo.evaluation import comparing, summaries
from fspo.evaluation.answers import answer_tasks
from fspo.evaluation.cohort import Cohort, cohort, drops_ties, who_is_asked
from fspo.evaluation.keeping import Kept, dependencies
from fspo.evaluation.mirroring import mirrored_name, probe_mirrored
from fspo.evaluation.probing import Gaps, draw_probes, probe, shot_counts
from fspo.evaluation.stacking import stacks
from fspo.evaluation.statistics import INTERVALS
from fspo.files import write_json
from fspo.methods.method import Describer, Task
from fspo.preferences.records import Preferences, plain_text

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.judging.verdicts import Judge
    from fspo.llm.build import Builder
    from fspo.methods.build import Trained


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
    from fspo.methods.baselines import baselines
    from fspo.methods.build import methods, trained
    from fspo.methods.untrained import always
    from fspo.preferences.reading import load_preferences

    started = time.monotonic()
    compared = trained(policies)
    every = load_preferences(data, drops_ties(compared, recipe))
    learners = [*compared, *_started(recipe)]
    settings = {policy.name: policy.settings for policy in learners}
    people = cohort(every, settings, recipe, {policy.name: policy.folder for policy in learners})
    people = people._replace(test=_that_fit(people.test, compared[0].settings))
    judge, paid = _judge(recipe, people.test, out, seed, trust_domain)
    beside = baselines(_baselines(recipe, people, judge), people.train, seed)
    recipe, users = who_is_asked(people, recipe)
    counts = shot_counts(recipe.shots)
    probes = draw_probes(
        people.test,
        users,
        shots=recipe.shots,
        targets=recipe.targets,
        draws=recipe.episodes_per_user,
        seed=seed,
        about=people.about,
    )
    tasks = _tasks(people, users, recipe, seed)
    if judge:
        judge.check([people.test.users[user] for user in users])
        tasks = _answerable(tasks, recipe)
    told = all(people.test.users[user].description for user in users)
    if "oracle" in recipe.methods and not told:
        raise FspoError(f"{people.test.source}: no oracle, as not all of these users are described")
    names = [*dict.fromkeys([*always(told), *recipe.methods])]
    ours = {policy.name for policy in compared}
    gaps: dict[str, list[Gaps]] = {}
    answers: dict[str, list[list[str]]] = {}
    descriptions: dict[str, Any] = {}
    depends = dependencies(compared, recipe)
    for method in methods(compared, names, recipe.sampling, recipe.personal):
        said = partial(Kept, name=method.name, depends=depends(method.name))
        if recipe.predict == "all" or (recipe.predict == "policies" and method.name in ours):
            kept = said(out / "predictions")
            gaps[method.name] = own = probe(method, probes, counts, kept)
            if recipe.mirrored and method.name in ours:
                turned = probe_mirrored(method, probes, counts, own, kept)
                gaps[mirrored_name(method.name)] = turned
        if told and isinstance(method, Describer):
            descriptions[method.name] = _nearness(method, tasks)
        if judge:
            answers[method.name] = answer_tasks(method, tasks, said(out / "answers"), seed)
    read_off = [mirrored_name(name) if recipe.mirrored else name for name in gaps if name in ours]
    told_by_ours = {name: gaps[name] for name in read_off}
    simple = {predictor.name: probe(predictor, probes, counts) for predictor in beside}
    gaps |= simple | (stacks(probes, simple, told_by_ours) if recipe.stacked else {})
    predictions = {
        name: summaries.accuracy(probes, own, counts, seed) for name, own in gaps.items()
    }
    first = compared[0]
    results = {
        "judge": judge.name if judge else "none",
        "methods": {},
        "preference_accuracy": predictions.get(first.name, {"by_shots": {}, "n": 0}),
        "predictions": predictions,
        "descriptions": descriptions,
        "users": {"train": len(people.train.by_user), "test": len(users)},
        "prompts": {
            "train": len(_prompts(people.train)),
            "test": len(_prompts(people.test) & (people.about or _prompts(people.test))),
        },
        "new": people.new,
        "shots": recipe.shots,
        "preferences": len(every),
        "model": first.settings["model"],
        "policies": {policy.name: policy.settings for policy in compared},
        "evaluation": recipe.model_dump(),
        "intervals": INTERVALS,
        "seed": seed,
        "versions": versions(),
        "seconds": round(time.monotonic() - started, 1),
        "example": None,
    }
    if judge:
        judged = comparing.judge_answers(answers, tasks, judge)
        results |= {
            "methods": comparing.win_rates(answers, judged, tasks, seed),
            "differences": comparing.differences(first.name, judged, tasks, seed),
            "judge_agrees": comparing.agreement_with_choices(judge, probes),
            "judging": _spent(paid),
            "warnings": comparing.warnings(judged[first.name], tasks, seed),
            "example": comparing.example(tasks, answers, judge),
        }
    write_json(out / "results.json", results)
    return results


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    import platform
    from importlib.metadata import version

    packages = ("fspo", "torch", "transformers", "peft", "vaderSentiment")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _judge(
    recipe: EvaluateRecipe, test: Preferences, out: Path, seed: int, trust_domain: bool
) -> tuple[Judge | None, Builder]:
    """The judge that was asked for, or the one whose measures know these users, if there is one.

    Beside it what pays for a model's verdicts.
    """
    from fspo.domains import load_domain
    from fspo.judging.build import judge_recipe, load_judge
    from fspo.llm.build import Builder
    from fspo.llm.store import Store

    name = recipe.judge
    if name is None:
        known = all(map(load_domain("reviews").knows, test.users.values()))
        name = "reviews" if known else "none"
        if not known:
            say("no measures of ours know these users: nothing is written or judged; see --judge")
    if name == "none":
        return None, Builder(None)
    chosen = judge_recipe(name, trust_domain)
    store = Store(out / "verdicts.sqlite") if chosen.kind == "model" else None
    builder = Builder(store, chosen.budget)
    return load_judge(chosen, builder, seed), builder


def _started(recipe: EvaluateRecipe) -> list[Trained]:
    """The policy that a further method starts from, which may know somebody, too."""
    from fspo.learning.policy import SETTINGS, read_settings
    from fspo.methods.build import Trained
    from fspo.methods.untrained.personal import PersonalLora

    start = Path(recipe.personal.start or "")
    if PersonalLora.name not in recipe.methods or not (start / SETTINGS).is_file():
        return []
    return [Trained(PersonalLora.name, start, read_settings(start))]


def _that_fit(test: Preferences, settings: Mapping[str, Any]) -> Preferences:
    """The preferences that can be asked about: some texts are longer than the model's context."""
    from fspo.learning.episodes import that_fit
    from fspo.models import read_config

    _, tokenizer, _ = read_config(settings["model"])
    return that_fit(test, tokenizer, settings["template"])


def _spent(builder: Builder) -> dict[str, Any]:
    """What verdicts took in this run; those that were kept from an earlier one cost nothing.

    Under `refused` stands how many a server would not give, by its reasons, if any.
    """
    meters = builder.meters.values()
    for line in builder.purse.refusals_told():
        say(line)
    refused = builder.purse.refusals()
    return ({"refused": refused} if refused else {}) | {
        "requests": sum(meter.requests for meter in meters),
        "input_tokens": sum(meter.input_tokens for meter in meters),
        "output_tokens": sum(meter.output_tokens for meter in meters),
        "cost": builder.purse.spent,
    }


def _nearness(method: Describer, tasks: Sequence[Task]) -> dict[str, Any]:
    """How near the descriptions that a method writes come to the true ones, before and after."""
    from fspo.llm.embedding import MiniLM
    from fspo.methods.rat.method import description_similarity

    users = [task.user.user_id for task in tasks]
    true = {task.user.user_id: task.user.description for task in tasks}

    def near(texts: Sequence[str]) -> dict[str, Any]:
        return description_similarity(dict(zip(users, texts, strict=True)), true, MiniLM())

    before = method.describe_before(tasks)
    return near(method.describe(tasks)) | {"before": near(before)["mean"] if before else None}


def _baselines(recipe: EvaluateRecipe, people: Cohort, judge: Judge | None) -> Sequence[str]:
    named: Sequence[str] = ("majority", "longer")
    if recipe.baselines is not None:
        named = recipe.baselines
    elif judge or not people.train.by_user:
        named = ()
    if recipe.stacked and not named:
        raise FspoError("--stacked: there are no baselines to stack; name some with --baseline")
    return named


def _tasks(people: Cohort, users: Sequence[str], recipe: EvaluateRecipe, seed: int) -> list[Task]:
    """For each user some shots, the same draw for everybody, and prompts that are not in them."""
    asked = people.about or {p.prompt for _, p in people.test}
    spelled: dict[str, str] = {}
    for prompt in sorted(asked):
        spelled.setdefault(plain_text(prompt), prompt)
    order = sorted(people.test.by_user)
    tasks = []
    for user in users:
        drawn = people.test.draw(user, recipe.shots + 1, [seed, 0]).preferences[: recipe.shots]
        shown = {shot.plain[0] for shot in drawn}
        others = [prompt for plain, prompt in spelled.items() if plain not in shown]
        shuffled = np.random.default_rng([seed, order.index(user)]).permutation(len(others))
        prompts = [others[index] for index in shuffled[: recipe.prompts_per_user]]
        tasks.append(Task(people.test.users[user], drawn, prompts))
    return tasks


def _answerable(tasks: Sequence[Task], recipe: EvaluateRecipe) -> list[Task]:
    """The tasks with a prompt to answer, which not every user's shots leave where prompts are few.

    Raises:
        FspoError: if there are fewer than two.
    """
    left = [task for task in tasks if task.prompts]
    if len(left) < 2:
        raise FspoError(
            f"{len(left)} of {len(tasks)} users have a prompt to answer that is not among their "
            f"{recipe.shots} shots; at least 2 are needed. Give fewer --shots, or --judge none."
        )
    if len(left) < len(tasks):
        say(
            f"{len(tasks) - len(left)} of {len(tasks)} users answer nothing: all prompts are among "
            "their shots"
        )
    return left


def _prompts(preferences: Preferences) -> set[str]:
    return {p.prompt for _, p in preferences}
