"""Who is evaluated: users that no policy has seen, and the prompts that they are asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.episodes import training_preferences
from fspo.preferences.records import Preferences, User
from fspo.preferences.splitting import hold_out

if TYPE_CHECKING:
    from fspo.methods.build import Trained
    from fspo.recipe import EvaluateRecipe


class Cohort(NamedTuple):
    """A dataset as evaluation sees it.

    Attributes:
        train: whom policies may have learned from.
        test: who is evaluated.
        about: the prompts that they are asked about; empty for any.
    """

    train: Preferences
    test: Preferences
    about: frozenset[str]


def cohort(
    every: Preferences, policies: Sequence[Mapping[str, Any]], recipe: EvaluateRecipe
) -> Cohort:
    """Sets the users apart that are evaluated, as the policies' training did.

    Args:
        every: the whole dataset.
        policies: the settings of each.
        recipe: says what is held out; what it leaves open is as the first policy was trained.

    Raises:
        FspoError: if a policy was trained with other users or prompts held out, or nobody is left.
    """
    shares = {}
    for key in ("holdout_users", "holdout_prompts"):
        trained = [float(settings.get(key) or 0) for settings in policies]
        asked = getattr(recipe, key)
        shares[key] = trained[0] if asked is None else asked
        for settings, share in zip(policies, trained, strict=True):
            if _same(settings.get("data"), every.source) and share < shares[key]:
                flag = key.replace("_", "-")
                raise FspoError(
                    f"--{flag} {shares[key]:g}: a policy was trained on this very data with "
                    f"{share:g} held out, so it has seen some of these. Train it with "
                    f"--{flag} {shares[key]:g}, or evaluate with {share:g}."
                )
    users, prompts = shares["holdout_users"], shares["holdout_prompts"]
    if users or prompts:
        train, test, about = hold_out(every, users, prompts)
        return Cohort(train, test if users else every, about)
    test = training_preferences(every, recipe.split)
    if test is every and any(_same(s.get("data"), every.source) for s in policies):
        say(
            f"{every.source}: its users are not split, and the policy was trained on all of them; "
            "to see how new users fare, train and evaluate with --holdout-users 0.2"
        )
    return Cohort(every.of("train"), test, frozenset())


def drops_ties(policies: Sequence[Trained], recipe: EvaluateRecipe) -> bool:
    """Whether rows with two equal responses are left out: as asked, or as in training."""
    if recipe.drop_ties is not None:
        return recipe.drop_ties
    return bool(policies[0].settings.get("drop_ties"))


def _same(one: str | None, other: str) -> bool:
    return bool(one) and Path(str(one)).resolve() == Path(other).resolve()


def who_is_asked(people: Cohort, recipe: EvaluateRecipe) -> tuple[EvaluateRecipe, list[str]]:
    """The recipe with the shots that are given, and the users who have enough preferences for them.

    Raises:
        FspoError: if there are fewer than two.
    """
    recipe = with_enough_shots(people, recipe)
    return recipe, eligible(people, recipe)


def with_enough_shots(people: Cohort, recipe: EvaluateRecipe) -> EvaluateRecipe:
    """The recipe with fewer shots where it names no number and too few people have so many.

    Too few are fewer than may be asked, and fewer than half of those who have two preferences.
    """
    if "shots" in recipe.model_fields_set:
        return recipe
    wanted = _wanted(people.test, recipe)
    needed = min(recipe.users, max(2, len(_having(people, wanted, 1)) / 2))
    fewer = range(recipe.shots, 1, -1)
    shots = next((n for n in fewer if len(_having(people, wanted, n)) >= needed), 1)
    if shots < recipe.shots:
        say(
            f"few users have the {recipe.shots + 1} preferences that {recipe.shots} shots and a "
            f"target take: they are asked after {shots}; --shots says how many"
        )
    return recipe.model_copy(update={"shots": shots})


def eligible(people: Cohort, recipe: EvaluateRecipe) -> list[str]:
    """The users with enough preferences for the shots and one target, in the file's order.

    Raises:
        FspoError: if there are fewer than two.
    """
    wanted = _wanted(people.test, recipe)
    enough = _having(people, wanted, recipe.shots)
    left_out = len(wanted) - len(enough)
    needed = recipe.shots + 1
    if left_out:
        say(
            f"{left_out} of {len(wanted)} users have fewer than {needed} preferences that "
            f"{recipe.shots} shots and a target take, and are left out"
        )
    if len(enough) < 2:
        advice = "Ask for fewer shots." if recipe.shots > 1 else "Hold more users out."
        raise FspoError(
            f"{people.test.source or 'preferences'}: {len(enough)} of {len(wanted)} held-out users "
            f"have the {needed} preferences on different prompts that {recipe.shots} shots and a "
            f"target take; at least 2 users are needed. {advice}"
        )
    if len(enough) > recipe.users:
        say(f"the first {recipe.users} of {len(enough)} users are evaluated; --users says how many")
    return enough[: recipe.users]


def _having(people: Cohort, users: Sequence[str], shots: int) -> list[str]:
    """Those with enough preferences for so many shots and one target."""
    from fspo.evaluation.probing import draw_probes

    probes = draw_probes(
        people.test, users, shots=shots, targets=1, draws=1, seed=0, about=people.about
    )
    return [probe.user.user_id for probe in probes]


def _wanted(test: Preferences, recipe: EvaluateRecipe) -> list[str]:
    """Those with the attributes that are asked for."""

    def fits(user: User) -> bool:
        return all(str(user.attributes.get(key)) in own for key, own in recipe.where.items())

    return [user for user in test.by_user if fits(test.users[user])]
