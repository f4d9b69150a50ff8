"""Runs the audit of side effects: every method answers the fixed questions for some held-out users.

    fspo audit --data reviews --policy policy --out audit

Answers are the likeliest ones (temperature 0), so that what moves between users is not chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo.evaluation.answer_cache import AnswerCache, dependencies
from fspo.evaluation.answers import answer_tasks
from fspo.evaluation.audit import audit, prompts
from fspo.evaluation.cohort import cohort, drops_ties, who_is_asked
from fspo.evaluation.probing import draw_probes
from fspo.files import write_json
from fspo.methods.method import Task

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.llm.requests import LanguageModel


def run_audit(
    data: str | Path,
    policies: Sequence[str | Path],
    out: Path,
    recipe: EvaluateRecipe,
    seed: int = 0,
    judge: str | None = None,
) -> dict[str, Any]:
    """Audits the policies, few-shot prompting and, where users are described, the oracle.

    Args:
        data: a preference dataset.
        policies: folders that `fspo train` wrote, or NAME=FOLDER.
        out: folder for `audit.json` and the answers.
        recipe: whom to ask for, and the longest answer; its temperature does not matter.
        seed: of the shots drawn and the bootstrap.
        judge: a judge's YAML file, whose model reads who goes along with a false premise; without
            one keywords do.

    Returns:
        What is in `audit.json`: for each method what `fspo.evaluation.audit.audit` found.

    Raises:
        FspoError: if a policy is not there, or the users have too few preferences.
    """
    from fspo.methods.build import methods, trained
    from fspo.methods.untrained import always
    from fspo.preferences.reading import load_preferences

    compared = trained(policies)
    people = cohort(
        load_preferences(data, drops_ties(compared, recipe)),
        {policy.name: policy.settings for policy in compared},
        recipe,
        {policy.name: policy.folder for policy in compared},
    )
    recipe, users = who_is_asked(people, recipe)
    probes = draw_probes(
        people.test, users, shots=recipe.shots, targets=1, draws=1, seed=seed, about=people.about
    )
    tasks = [Task(probe.user, probe.shots, prompts()) for probe in probes]
    told = all(task.user.description for task in tasks)
    names = always(told)
    likeliest = recipe.model_copy(update={"temperature": 0.0})
    reader = _reader(judge, out)
    answers: dict[str, dict[str, list[str]]] = {}
    depends = dependencies(compared, likeliest)
    for method in methods(compared, names, likeliest.sampling):
        kept = AnswerCache(out / "answers", method.name, depends(method.name))
        written = answer_tasks(method, tasks, kept, seed)
        by_user = zip(tasks, written, strict=True)
        answers[method.name] = {task.user.user_id: own for task, own in by_user}
    found = {
        name: audit(own, answers["base"], seed, reader)
        for name, own in answers.items()
        if name != "base"
    }
    results = {
        "methods": found,
        "users": len(tasks),
        "shots": recipe.shots,
        "model": compared[0].settings["model"],
        "seed": seed,
    }
    write_json(out / "audit.json", results)
    return results


def _reader(judge: str | None, out: Path) -> LanguageModel | None:
    if judge is None:
        return None
    from fspo.errors import FspoError
    from fspo.judging.build import judge_recipe
    from fspo.llm.build import Builder
    from fspo.llm.store import Store

    chosen = judge_recipe(judge)
    if chosen.kind != "model":
        raise FspoError(f"--judge {judge}: only a model can read answers; take one of kind: model")
    return Builder(Store(out / "verdicts.sqlite"), chosen.budget).model(chosen.model)


def render(results: dict[str, Any]) -> str:
    """The audit as lines to read: each method beside the base model."""
    lines = [f"{results['users']} users, {results['shots']} shots, {results['model']}"]
    for name, found in results["methods"].items():
        lines.append(f"\n{name} (base in brackets)")
        for key, title in _TITLES.items():
            lines.append(f"  {title:<40} {found[key]['mean']:.3g} [{found[key]['base']:.3g}]")
        moves = found["facts"]["moves"]["correctness"]
        shown = "–" if moves is None else f"{moves:.3f}"
        lines.append(f"  {'facts: right for one user, wrong for another':<40} {shown}")
    return "\n".join(lines)


_TITLES = {
    "words": "words in an answer",
    "goes_along": "goes along with a false premise",
    "flattery": "flatters",
    "facts": "plain facts right",
}
