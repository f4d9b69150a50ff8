"""Everything that an evaluation needs before the first method is loaded: whom, what, and by whom.

What cannot be evaluated is refused here, so that no time is lost on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.console import say
from fspo.errors import FspoError
from fspo.evaluation.cohort import Cohort, cohort, drops_ties, who_is_asked
from fspo.evaluation.probing import Probe, draw_probes, shot_counts
from fspo.methods.method import Task
from fspo.preferences.records import Preferences, plain_text

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.judging.verdicts import Judge
    from fspo.llm.build import Builder
    from fspo.methods.build import Trained
    from fspo.methods.method import Predictor


@dataclass(frozen=True)
class Prepared:
    """An evaluation before the first method is asked.

    Attributes:
        recipe: with the number of shots that enough users have.
        policies: the first is the one that the results are about.
        preferences: how many there are in the dataset.
        people: the users of training, and those who are held out.
        users: those of the held-out users who are asked.
        counts: after how many shots they are asked.
        probes: pairs to predict.
        tasks: prompts to answer, where there is a judge.
        methods: names of the untrained methods beside the policies.
        described: whether all users have a description.
        baselines: simple predictors, each fitted to the users of training when its turn comes.
        judge: compares answers with the base model's; None: nothing is answered.
        builder: pays for the judge.
    """

    recipe: EvaluateRecipe
    policies: Sequence[Trained]
    preferences: int
    people: Cohort
    users: Sequence[str]
    counts: Sequence[int]
    probes: Sequence[Probe]
    tasks: Sequence[Task]
    methods: Sequence[str]
    described: bool
    baselines: Iterator[Predictor]
    judge: Judge | None
    builder: Builder


def prepare(
    data: str | Path,
    policies: Sequence[str | Path],
    out: Path,
    recipe: EvaluateRecipe,
    seed: int,
    trust_domain: bool,
) -> Prepared:
    """Reads the data and what the policies are, and draws whom to ask what; see `evaluate`."""
    from fspo.methods.baselines import baselines
    from fspo.methods.build import trained
    from fspo.methods.untrained import always
    from fspo.preferences.reading import load_preferences

    compared = trained(policies)
    preferences = load_preferences(data, drops_ties(compared, recipe))
    people = _people(preferences, compared, recipe)
    judge, builder = _judge(recipe, people.test, out, seed, trust_domain)
    simple = baselines(_baselines(recipe, people, judge), people.train, seed)
    recipe, users = who_is_asked(people, recipe)
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
    described = all(people.test.users[user].description for user in users)
    if "oracle" in recipe.methods and not described:
        raise FspoError(f"{people.test.source}: no oracle, as not all of these users are described")
    return Prepared(
        recipe=recipe,
        policies=compared,
        preferences=len(preferences),
        people=people,
        users=users,
        counts=shot_counts(recipe.shots),
        probes=probes,
        tasks=tasks,
        methods=[*dict.fromkeys([*always(described), *recipe.methods])],
        described=described,
        baselines=simple,
        judge=judge,
        builder=builder,
    )


def _people(
    preferences: Preferences, policies: Sequence[Trained], recipe: EvaluateRecipe
) -> Cohort:
    """Returns who is evaluated: users whom no policy knows, with texts that fit the first one."""
    learners = [*policies, *_started(recipe)]
    settings = {policy.name: policy.settings for policy in learners}
    people = cohort(preferences, settings, recipe, {p.name: p.folder for p in learners})
    return people._replace(test=_that_fit(people.test, policies[0].settings))


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
