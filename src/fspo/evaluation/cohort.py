"""Chooses who is evaluated, users that no policy has seen, and the prompts that they are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fspo.console import say
from fspo.errors import FspoError
from fspo.learning.episodes import learned_from, training_preferences
from fspo.learning.learned import Learned, load_learned
from fspo.learning.policy import SETTINGS, read_settings
from fspo.places import find
from fspo.preferences.records import Preferences, plain_text
from fspo.preferences.splitting import hold_out, in_no_split

if TYPE_CHECKING:
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.methods.build import Trained


_SHARES = ("holdout_users", "holdout_prompts")


class Cohort(NamedTuple):
    """A dataset as evaluation sees it.

    Attributes:
        train: whom policies may have learned from.
        test: who is evaluated.
        about: the prompts that they are asked about; empty for any.
        new: what no policy has learned from: the users, only these prompts, or neither; unknown
            where an earlier version trained one, and noted nothing of it.
    """

    train: Preferences
    test: Preferences
    about: frozenset[str]
    new: Literal["users", "prompts", "neither", "unknown"] = "users"


class _Known(NamedTuple):
    """The users and prompts that one run of training has learned from, with the shares held out."""

    users: set[str]
    prompts: set[str]
    shares: Sequence[float]


def cohort(
    every: Preferences,
    policies: Mapping[str, Mapping[str, Any]],
    recipe: EvaluateRecipe,
    folders: Mapping[str, Path] = MappingProxyType({}),
) -> Cohort:
    """Sets the users apart that are evaluated, as the policies' training did.

    Args:
        every: the whole dataset.
        policies: the settings of each, by name.
        recipe: says what is held out; what it leaves open is as the first policy was trained.
        folders: where the policies are that have been trained, by name; what they have learned from
            is told by its content, and for those of earlier versions by its path.

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
        knowing = (_own(every, own, folders.get(name)) for name, own in policies.items())
        if test is every and any(known and known.users for known in knowing):
            say(
                f"{every.source}: its users are not split, and the policy was trained on them; to "
                "see how new users fare, train and evaluate with --holdout-users 0.2"
            )
            return people._replace(new="neither")
    noted = True
    for name, settings in policies.items():
        learners = list(_learners(every, settings, folders.get(name)))
        for known in filter(None, learners):
            _refuse_what_is_known(name, known, every, people, shares)
        if name in folders and not all(learners):
            noted = False
            say(
                f"{name}: an earlier version trained it, or what it went on from, and did not note "
                "whom it learned from: whether these users and prompts are new to it is not known"
            )
    if people.new == "prompts":
        say("no users are held out: what is new to a policy are the prompts that they are asked")
    return people if noted else people._replace(new="unknown")


def _share(settings: Mapping[str, Any], key: str) -> float:
    return float(settings.get(key) or 0)


def _own(every: Preferences, settings: Mapping[str, Any], folder: Path | None) -> _Known | None:
    """Returns what of a dataset a policy's own training has learned from; None if not known."""
    if learned := load_learned(folder) if folder else []:
        return _known(every, learned[0])
    # An earlier version has noted no more than where the data lay.
    there = settings.get("data")
    if not there or Path(str(there)).resolve() != Path(every.source).resolve():
        return None
    shares = [_share(settings, key) for key in _SHARES]
    learned_there = learned_from(every, str(settings.get("split", "train")), *shares)
    prompts = {p.plain[0] for _, p in learned_there}
    return _Known(set(learned_there.by_user), prompts, shares)


def _known(every: Preferences, learned: Learned) -> _Known:
    users = learned.users_in(every)
    prompts = learned.prompts_in({p.plain[0] for _, p in every})
    return _Known(users, prompts, learned.shares.tolist())


def _learners(
    every: Preferences, settings: Mapping[str, Any], folder: Path | None
) -> Iterator[_Known | None]:
    """Returns what a policy knows of a dataset, and those that it went on from, if that is known.

    Those are asked themselves, too, as far as they exist: an earlier version noted nothing of them.
    """
    for before in load_learned(folder)[1:] if folder else ():
        yield _known(every, before)
    passed: set[Path] = set()
    while True:
        yield _own(every, settings, folder)
        start = find(settings, "adapter", folder or Path())
        if start is None:
            return
        folder = Path(start)
        if folder in passed or not (folder / SETTINGS).is_file():
            return
        passed.add(folder)
        settings = read_settings(folder)


def _refuse_what_is_known(
    name: str, known: _Known, every: Preferences, people: Cohort, shares: Sequence[float]
) -> None:
    """Nobody is new to a policy, and no prompt, that it has learned from, however it was split."""
    users = set(people.test.by_user) if people.new == "users" else set()
    for what, asked, seen in (
        ("users", users, known.users),
        ("prompts", set(map(plain_text, people.about)), known.prompts),
    ):
        if both := asked & seen:
            raise FspoError(
                f"{name}: it has learned from {len(both)} of the {len(asked)} {what} of "
                f"{every.source} that are new in this evaluation (such as {min(both)[:60]!r}): "
                f"{_why(known.shares, shares)}"
            )


def _why(own: Sequence[float], shares: Sequence[float]) -> str:
    if list(own) == list(shares):
        return (
            f"it was trained with {_in_flags(own)} of data that hold them, too. Leave them out of "
            "the one or the other."
        )
    return (
        f"it was trained with {_in_flags(own)}, and what is asked now is {_in_flags(shares)}. "
        "Train it with these, or evaluate with those."
    )


def _in_flags(shares: Sequence[float]) -> str:
    named = zip(_SHARES, shares, strict=True)
    flags = [f"--{key.replace('_', '-')} {share:g}" for key, share in named if share]
    return " ".join(flags) or "the data's own split"


def drops_ties(policies: Sequence[Trained], recipe: EvaluateRecipe) -> bool:
    """Returns whether rows with two equal responses are left out: as asked, or as in training."""
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
