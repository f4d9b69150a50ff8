"""Who is evaluated: users that no policy has seen, and the prompts that they are asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.episodes import learned_from, training_preferences
from fspo.learning.policy import SETTINGS, read_settings
from fspo.preferences.records import Preferences, plain_text
from fspo.preferences.splitting import hold_out, in_no_split

if TYPE_CHECKING:
    from fspo.methods.build import Trained
    from fspo.recipe import EvaluateRecipe


_SHARES = ("holdout_users", "holdout_prompts")


class Cohort(NamedTuple):
    """A dataset as evaluation sees it.

    Attributes:
        train: whom policies may have learned from.
        test: who is evaluated.
        about: the prompts that they are asked about; empty for any.
        new: what no policy has learned from: the users, only these prompts, or neither.
    """

    train: Preferences
    test: Preferences
    about: frozenset[str]
    new: Literal["users", "prompts", "neither"] = "users"


def cohort(
    every: Preferences, policies: Mapping[str, Mapping[str, Any]], recipe: EvaluateRecipe
) -> Cohort:
    """Sets the users apart that are evaluated, as the policies' training did.

    Args:
        every: the whole dataset.
        policies: the settings of each, by name.
        recipe: says what is held out; what it leaves open is as the first policy was trained.

    Raises:
        FspoError: if a policy has learned from these users or prompts, or nobody is left.
    """
    first = next(iter(policies.values()))
    shares = [
        _share(first, key) if asked is None else asked
        for key, asked in zip(_SHARES, (recipe.holdout_users, recipe.holdout_prompts), strict=True)
    ]
    if not shares[0]:
        for told in in_no_split(every.users.values(), recipe.split):
            say(f"{every.source}: {told}")
    if shares[0]:
        people = Cohort(*hold_out(every, *shares))
    elif shares[1]:
        train = learned_from(every, "train", *shares)
        test, about = training_preferences(every, recipe.split), hold_out(every, *shares).unseen
        people = Cohort(train, test, about, "prompts" if test is every else "users")
    else:
        train, test = every.of("train"), training_preferences(every, recipe.split)
        people = Cohort(train, test, frozenset())
        if test is every and any(_on(every, policies.values())):
            say(
                f"{every.source}: its users are not split, and the policy was trained on them; to "
                "see how new users fare, train and evaluate with --holdout-users 0.2"
            )
            return people._replace(new="neither")
    for name, settings in policies.items():
        for learner in _on(every, _lineage(settings)):
            _refuse_what_is_known(name, learner, every, people, shares)
    if people.new == "prompts":
        say("no users are held out: what is new to a policy are the prompts that they are asked")
    return people


def _share(settings: Mapping[str, Any], key: str) -> float:
    return float(settings.get(key) or 0)


def _on(every: Preferences, trained: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The settings of what was trained on this very data."""
    there = Path(every.source).resolve()
    for settings in trained:
        if settings.get("data") and Path(str(settings["data"])).resolve() == there:
            yield settings


def _lineage(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A policy's settings, and those of the policies that it went on from, as far as they exist."""
    yield settings
    passed: set[Path] = set()
    while start := settings.get("adapter"):
        folder = Path(str(start))
        if folder in passed or not (folder / SETTINGS).is_file():
            return
        passed.add(folder)
        settings = read_settings(folder)
        yield settings


def _refuse_what_is_known(
    name: str,
    settings: Mapping[str, Any],
    every: Preferences,
    people: Cohort,
    shares: Sequence[float],
) -> None:
    """Nobody is new to a policy, and no prompt, that it has learned from, however it was split."""
    own = [_share(settings, key) for key in _SHARES]
    if own[0] and own == shares:
        return  # who is asked is who was held out
    learned = learned_from(every, str(settings.get("split", "train")), *own)
    users = set(people.test.by_user) if people.new == "users" else set()
    for what, asked, seen in (
        ("users", users, set(learned.by_user)),
        (
            "prompts",
            {plain_text(prompt) for prompt in people.about},
            {p.plain[0] for _, p in learned},
        ),
    ):
        if known := asked & seen:
            raise FspoError(
                f"{name}: it has learned from {len(known)} of the {len(asked)} {what} of "
                f"{every.source} that are new in this evaluation (such as {min(known)[:60]!r}): it "
                f"was trained with {_in_flags(own)}, and what is asked now is {_in_flags(shares)}. "
                "Train it with these, or evaluate with those."
            )


def _in_flags(shares: Sequence[float]) -> str:
    named = zip(_SHARES, shares, strict=True)
    flags = [f"--{key.replace('_', '-')} {share:g}" for key, share in named if share]
    return " ".join(flags) or "the data's own split"


def drops_ties(policies: Sequence[Trained], recipe: EvaluateRecipe) -> bool:
    """Whether rows with two equal responses are left out: as asked, or as in training."""
    if recipe.drop_ties is not None:
        return recipe.drop_ties
    return bool(policies[0].settings.get("drop_ties"))


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
    """Those with the attributes that are asked for.

    Raises:
        FspoError: if there is nobody with one of them.
    """
    wanted = list(test.by_user)
    for key, own in recipe.where.items():
        found = {user: str(test.users[user].attributes.get(key)) for user in wanted}
        wanted = [user for user in wanted if found[user] in own]
        if not wanted:
            there = ", ".join(sorted(set(found.values()))[:8])
            raise FspoError(
                f"where: {test.source or 'preferences'}: no user has {key!r} among "
                f"{', '.join(map(repr, own))}; there it is {there[:200]}"
            )
    return wanted
