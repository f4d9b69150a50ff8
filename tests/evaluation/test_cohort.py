"""After how many shots people are asked, where nobody says how many."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fspo import FspoError, Preference, Preferences, User
from fspo.evaluation.cohort import Cohort, cohort, eligible, who_is_asked, with_enough_shots
from fspo.evaluation.probing import draw_probes
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.learning.episodes import learned_from
from fspo.learning.learned import Learned, save_learned
from fspo.preferences.splitting import hold_out


def people(*counts: int, prompt: str = "") -> Cohort:
    """Users with so many preferences each, all on different prompts, or all on the same."""
    by_user = {
        f"u{number}": [
            Preference(prompt or f"p{row}", f"good {row}", f"bad {row}") for row in range(count)
        ]
        for number, count in enumerate(counts)
    }
    return Cohort(Preferences({}), Preferences(by_user), frozenset())


@pytest.mark.parametrize("prompt", ["", "the only one"])
def test_people_with_few_choices_are_asked_after_fewer_shots(prompt: str) -> None:
    few = people(5, 5, 5, 3, prompt=prompt)
    recipe = with_enough_shots(few, EvaluateRecipe())
    assert recipe.shots == 4
    assert eligible(few, recipe) == ["u0", "u1", "u2"]


def test_a_number_that_somebody_named_stays() -> None:
    few = people(5, 5, 5)
    recipe = with_enough_shots(few, EvaluateRecipe(shots=8))
    assert recipe.shots == 8
    with pytest.raises(FspoError, match="Ask for fewer shots"):
        eligible(few, recipe)


def test_where_there_are_too_few_people_fewer_shots_are_no_advice() -> None:
    with pytest.raises(FspoError, match=r"1 of 2 held-out users have .* Hold more users out"):
        who_is_asked(people(2, 1), EvaluateRecipe())


def test_nobody_has_to_have_many_where_enough_have() -> None:
    some = people(*[9] * 60, *[2] * 300)
    assert with_enough_shots(some, EvaluateRecipe()).shots == 8


@given(st.lists(st.integers(1, 12), min_size=2, max_size=12), st.integers(2, 6))
def test_no_larger_number_leaves_enough_people(counts: list[int], users: int) -> None:
    askable = [count for count in counts if count >= 2]
    wanted = min(users, max(2, len(askable) / 2))
    good = [n for n in range(1, 9) if sum(count > n for count in counts) >= wanted]
    found = with_enough_shots(people(*counts), EvaluateRecipe(users=users)).shots
    assert found == max(good, default=1)


@given(
    st.lists(st.integers(2, 12), min_size=2, max_size=8),
    st.integers(1, 6),
    st.integers(0, 3),
    st.sampled_from(["", "the only one"]),
)
def test_whoever_is_asked_has_a_pair_to_be_asked_about(
    counts: list[int], targets: int, seed: int, prompt: str
) -> None:
    """As many targets as are wanted, or as the shots leave."""
    some = people(*counts, prompt=prompt)
    recipe, users = who_is_asked(some, EvaluateRecipe(targets=targets))
    probes = draw_probes(some.test, users, shots=recipe.shots, targets=targets, draws=2, seed=seed)
    assert [probe.user.user_id for probe in probes] == [user for user in users for _ in range(2)]
    for probe in probes:
        rows = some.test.by_user[probe.user.user_id]
        assert len(probe.shots) == recipe.shots
        assert len(probe.targets) == min(targets, len(rows) - recipe.shots)
        assert not {row.chosen for row in probe.shots} & {row.chosen for row in probe.targets}


SHARES = st.sampled_from([0.0, 0.2, 0.4])


def split_people(tmp: str) -> Preferences:
    """Twenty users who are split in two, and ten prompts."""
    by_user = {f"u{n}": [Preference(f"q{k}", "a", "b") for k in range(10)] for n in range(20)}
    users = [User(name, split="test" if n % 2 else "train") for n, name in enumerate(by_user)]
    return Preferences(by_user, users, tmp)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=3), SHARES, SHARES)
def test_what_is_called_new_is_new_to_every_policy(
    held_out: list[tuple[float, float]], users: float, prompts: float
) -> None:
    every = split_people("folder")
    policies = {
        f"policy {n}": {"data": "folder", "holdout_users": u, "holdout_prompts": p}
        for n, (u, p) in enumerate(held_out)
    }
    asked = EvaluateRecipe(holdout_users=users, holdout_prompts=prompts)
    try:
        found = cohort(every, policies, asked)
    except FspoError as error:
        # Refused, because this policy knows somebody or something that would be new.
        name = int(str(error).split(":")[0].removeprefix("policy "))
        own = learned_from(every, "train", *held_out[name])
        apart = hold_out(every, users, prompts) if users or prompts else None
        people = apart.test if users and apart else every.of("test")
        about = apart.unseen if apart else frozenset()
        assert own.by_user.keys() & people.by_user.keys() or about & {p.prompt for _, p in own}
        return
    assert found.new == "users"
    for shares in held_out:
        own = learned_from(every, "train", *shares)
        assert not own.by_user.keys() & found.test.by_user.keys()
        assert not {p.prompt for _, p in own} & found.about
    assert len(found.about) == round(10 * prompts)


def test_of_people_who_are_not_split_only_held_out_prompts_are_new() -> None:
    rows = [Preference(f"q{k}", "a", "b") for k in range(10)]
    every = Preferences({f"u{n}": rows for n in range(4)}, source="here")
    asked = EvaluateRecipe(holdout_prompts=0.2)
    found = cohort(every, {"FSPO": {"data": "here", "holdout_prompts": 0.2}}, asked)
    assert (found.new, set(found.test.by_user)) == ("prompts", set(every.by_user))
    with pytest.raises(FspoError, match="from 1 of the 2 prompts of here that are new"):
        cohort(every, {"FSPO": {"data": "here", "holdout_prompts": 0.1}}, asked)


def test_what_a_policy_went_on_from_has_learned_counts(tmp_path: Path) -> None:
    every = split_people(str(tmp_path / "data"))
    first = {"model": "m", "template": "chain", "beta": 0.1, "data": every.source}
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "fspo.json").write_text(json.dumps(first))
    second = first | {"holdout_users": 0.2, "adapter": str(tmp_path / "first")}
    with pytest.raises(FspoError, match=r"trained with the data's own split.*--holdout-users 0\.2"):
        cohort(every, {"FSPO": second}, EvaluateRecipe())
    elsewhere = second | {"data": str(tmp_path / "other"), "adapter": None}
    assert cohort(every, {"FSPO": elsewhere}, EvaluateRecipe()).new == "users"


def test_users_who_are_not_split_are_new_to_what_was_trained_elsewhere(tmp_path: Path) -> None:
    every = Preferences({f"u{n}": [Preference("q", "a", "b")] for n in range(4)}, source="here")
    assert cohort(every, {"FSPO": {"data": "here"}}, EvaluateRecipe()).new == "neither"
    assert cohort(every, {"FSPO": {"data": "there"}}, EvaluateRecipe()).new == "users"


def rows_of(*names: str) -> Preferences:
    """Everybody's choices over the same pairs, as in a poll: what differs is who chose which."""
    rows = [Preference(f"q{k} é", f"yes {k}", f"no {k}") for k in range(8)]
    by_user = {
        name: [row.reversed() if (len(name) + k) % 2 else row for k, row in enumerate(rows)]
        for name in names
    }
    return Preferences(by_user, source="here")


def copied(every: Preferences, change: str, source: str) -> Preferences:
    """The same data as somebody else might have it."""
    rows = {user: list(own) for user, own in every.by_user.items()}
    if change == "reordered":
        rows = {user: rows[user][::-1] for user in reversed(rows)}
    elif change == "rows removed":
        rows = {user: own[: 2 + len(user) % 3] for user, own in rows.items()}
    elif change == "users removed":
        rows = dict(list(rows.items())[::2])
    elif change == "users and rows added":
        more = [Preference(f"new {k}", "good", "bad") for k in range(3)]
        rows = {"new": more} | {user: [*more, *own] for user, own in rows.items()}
    elif change == "some rows replaced":
        more = [Preference("new", "good", "bad")]
        rows = {user: more if n % 3 else own for n, (user, own) in enumerate(rows.items())}
    elif change == "turned round":
        rows = {user: [row.reversed() for row in own] for user, own in rows.items()}
    elif change == "white space and Unicode":
        rows = {
            user: [
                Preference(
                    unicodedata.normalize("NFD", row.prompt) + " ",
                    row.chosen.replace(" ", "\r\n"),
                    row.rejected,
                )
                for row in own
            ]
            for user, own in rows.items()
        }
    return Preferences(rows, source=source)


CHANGES = (
    "none",
    "reordered",
    "rows removed",
    "users removed",
    "users and rows added",
    "some rows replaced",
    "turned round",
    "white space and Unicode",
)


def policy_of(folder: Path, every: Preferences, **settings: object) -> dict[str, object]:
    """A policy's folder and settings, as training on these data leaves them."""
    shares = [float(str(settings.get(key, 0.0))) for key in ("holdout_users", "holdout_prompts")]
    known = {
        "model": "owner/m",
        "template": "chain",
        "beta": 0.1,
        "data": "somewhere",
        "beside": {},
    }
    folder.mkdir(exist_ok=True)
    (folder / "fspo.json").write_text(json.dumps(known | settings))
    adapter = settings.get("adapter")
    kept = learned_from(every, "train", *shares)
    save_learned(folder, Learned.of(kept, shares), Path(str(adapter)) if adapter else None)
    return known | settings


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("held_out", [0.0, 0.4])
def test_a_copy_of_what_was_learned_from_is_no_new_data(
    tmp_path: Path, change: str, held_out: float
) -> None:
    every = rows_of(*(f"user {'x' * n}" for n in range(10)))
    settings = policy_of(tmp_path / "policy", every, holdout_users=held_out)
    learned = set(learned_from(every, "train", held_out, 0.0).by_user)
    copy = copied(every, change, "elsewhere")

    def asked(**shares: float) -> Cohort:
        policies, folders = {"FSPO": settings}, {"FSPO": tmp_path / "policy"}
        return cohort(copy, policies, EvaluateRecipe(**shares), folders)

    if not held_out:
        assert asked().new == "neither"
    for share in (0.2, 0.4, 0.6):
        apart = set(hold_out(copy, share, 0.0).test.by_user)
        if known := apart & learned:
            told = rf"FSPO: it has learned from {len(known)} of the {len(apart)} users of elsewhere"
            with pytest.raises(FspoError, match=told):
                asked(holdout_users=share)
        else:
            assert set(asked(holdout_users=share).test.by_user) == apart
    prompts = {p.prompt for _, p in hold_out(copy, 0.0, 0.5).train}
    about = hold_out(copy, 0.0, 0.5).unseen
    assert prompts
    if any(not prompt.startswith("new") for prompt in about):
        with pytest.raises(FspoError, match="it has learned from"):
            asked(holdout_users=0.0, holdout_prompts=0.5)


def test_part_of_the_data_that_was_held_out_is_new(tmp_path: Path) -> None:
    every = rows_of(*(f"user {'x' * n}" for n in range(10)))
    settings = policy_of(tmp_path / "policy", every, holdout_users=0.4)
    apart = hold_out(every, 0.4, 0.0).test
    found = cohort(
        Preferences(apart.by_user, source="apart"),
        {"FSPO": settings},
        EvaluateRecipe(holdout_users=0.0),
        {"FSPO": tmp_path / "policy"},
    )
    assert found.new == "users"


def test_other_people_of_the_same_names_are_new(tmp_path: Path) -> None:
    """Two datasets may both have a "user 1", asked the same even; they share no answer, though."""
    settings = policy_of(tmp_path / "policy", rows_of("1", "2", "3"))
    others = {
        name: [Preference(row.prompt, row.chosen + "!", row.rejected + "!") for row in rows]
        for name, rows in rows_of("1", "2", "3").by_user.items()
    }
    found = cohort(
        Preferences(others, source="others"),
        {"FSPO": settings},
        EvaluateRecipe(),
        {"FSPO": tmp_path / "policy"},
    )
    assert found.new == "users"


def test_what_a_policy_went_on_from_counts_when_it_is_gone(tmp_path: Path) -> None:
    users = [User(name, split="test" if n % 2 else "train") for n, name in enumerate("abcdef")]
    every = Preferences(rows_of(*"abcdef").by_user, users, "here")
    everybody = Preferences(every.by_user)
    policy_of(tmp_path / "first", everybody)
    second = policy_of(tmp_path / "second", every, adapter=str(tmp_path / "first"))
    shutil.rmtree(tmp_path / "first")
    for folder in ("second", "moved"):
        with pytest.raises(FspoError, match=r"learned from 3 of the 3 users.*Leave them out"):
            cohort(every, {"FSPO": second}, EvaluateRecipe(), {"FSPO": tmp_path / folder})
        if folder == "second":
            (tmp_path / "second").rename(tmp_path / "moved")


@pytest.mark.parametrize("place", ["the policy", "what it went on from"])
@pytest.mark.parametrize("shares", [{}, {"holdout_users": 0.4}, {"holdout_prompts": 0.4}])
def test_of_a_policy_that_noted_nothing_it_is_said_that_nothing_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, shares: dict[str, float]
) -> None:
    every = rows_of(*(f"user {'x' * n}" for n in range(10)))
    other = Preferences({name: [Preference("x", "y", "n")] for name in "ab"})
    first = policy_of(tmp_path / "first", other)
    settings = policy_of(tmp_path / "second", other, adapter=str(tmp_path / "first"))
    folders = {"FSPO": tmp_path / "second"}
    recipe = EvaluateRecipe(**shares)
    assert cohort(every, {"FSPO": settings}, recipe, folders).new != "unknown"
    assert "not known" not in capsys.readouterr().err
    (tmp_path / "first" / "learned_from.npz").unlink()
    if place == "the policy":
        settings, folders = first, {"FSPO": tmp_path / "first"}
    assert cohort(every, {"FSPO": settings}, recipe, folders).new == "unknown"
    assert "FSPO: an earlier version trained it" in capsys.readouterr().err
    # What is known by the data's path is known.
    told = {"FSPO": first | {"data": every.source}}
    assert cohort(every, told, EvaluateRecipe(), {"FSPO": tmp_path / "first"}).new == "neither"
