"""From names and folders to methods, each loaded only when its turn comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fspo.errors import FspoError
from fspo.learning.policy import load_policy, read_settings
from fspo.methods.baselines import NAMES
from fspo.methods.best_of import BestOf
from fspo.methods.chatting import Base, Oracle
from fspo.methods.in_context import InContext, Prompted
from fspo.methods.method import Method
from fspo.methods.personal import load_personal
from fspo.places import base_in

if TYPE_CHECKING:
    from fspo.llm.local import LocalModel
    from fspo.recipe import EvaluateRecipe


class Trained(NamedTuple):
    """A policy that is to be compared.

    Attributes:
        name: what reports call it.
        folder: where `fspo train` wrote it.
        settings: its `fspo.json`.
    """

    name: str
    folder: Path
    settings: dict[str, Any]


def trained(policies: Sequence[str | Path]) -> list[Trained]:
    """Reads what the policies are, without loading them.

    Args:
        policies: folders, or `NAME=FOLDER`. Without a name, a policy is called after what it
            learned, and after its folder where two would be called the same.

    Raises:
        FspoError: if one is not there, or is called like another one or like something else.
    """
    found = []
    for text in map(str, policies):
        name, folder = _name_and_folder(text)
        settings = read_settings(folder)
        base_in(settings, Path(folder))  # which is missed before anything is asked
        found.append(Trained(name.strip() or _called(settings), Path(folder), settings))
    names = [policy.name for policy in found]
    found = [
        p._replace(name=f"{p.name} ({p.folder.name})") if names.count(p.name) > 1 else p
        for p in found
    ]
    for policy in found:
        check_name(policy.name)
    twice = sorted({p.name for p in found if [q.name for q in found].count(p.name) > 1})
    if twice:
        raise FspoError(f"--policy: two are called {twice[0]!r}; write NAME=FOLDER")
    return found


def _name_and_folder(text: str) -> tuple[str, str]:
    """`NAME=FOLDER` in two, where both may hold a `=`; a folder as it is, without a name."""
    parts = text.split("=")
    splits = [("=".join(parts[:n]), "=".join(parts[n:])) for n in range(1, len(parts))]
    for name, folder in (("", text), *splits):
        if folder and Path(folder).is_dir():
            return name, folder
    return splits[0] if splits else ("", text)


_NOT_FOR_POLICIES = {"base", "few-shot prompted", "LoRA per user", "oracle", *NAMES}
_READ_OFF = re.compile(r", (mirrored|stacked|best of \d+)$")  # from what others say


def check_name(name: str) -> None:
    """Makes sure that a policy's name is not what reports call something else.

    Raises:
        FspoError: if it is.
    """
    if name in _NOT_FOR_POLICIES or _READ_OFF.search(name):
        raise FspoError(f"a policy cannot be called {name!r}, as that is what something else is")


_CALLED = {"rat": "FSPO + RAT", "ric": "RiC", "vpl": "VPL"}


def _called(settings: dict[str, Any]) -> str:
    if settings.get("method") in _CALLED:
        return _CALLED[settings["method"]]
    objective = settings.get("objective", "ipo")
    if objective == "sft":
        return "Pref-FT"
    return "FSPO" if settings.get("shots", 8) else f"{objective.upper()} without users"


def methods(
    policies: Sequence[Trained], names: Sequence[str], recipe: EvaluateRecipe
) -> Iterator[Method]:
    """Yields the untrained methods of these names and the policies, in the order of reports.

    Args:
        policies: the first one's model and template are those of the untrained methods.
        names: among "base", "few-shot prompted", "LoRA per user" and "oracle"; and "best of N",
            which picks among N answers of the first policy.
        recipe: how answers are sampled.
    """
    first = policies[0].settings

    @cache
    def llm() -> LocalModel:
        from fspo.llm.local import LocalModel
        from fspo.models import load_model

        return LocalModel(*load_model(first["model"]))

    untrained: dict[str, Callable[[], Method]] = {
        "base": lambda: Base(llm(), recipe),
        "few-shot prompted": lambda: Prompted(llm(), first["template"], recipe),
        "LoRA per user": lambda: load_personal(first["model"], recipe.personal, recipe),
        "oracle": lambda: Oracle(llm(), recipe),
    }
    draws = [_draws(name) for name in names if name not in untrained]
    for name in names:
        if name in untrained and name != "oracle":
            yield untrained[name]()
    subject = _trained(policies[0], recipe)
    yield subject
    yield from (BestOf(subject, n) for n in draws)
    del subject  # the next ones need the memory
    for policy in policies[1:]:
        yield _trained(policy, recipe)
    if "oracle" in names:
        yield untrained["oracle"]()


def _draws(name: str) -> int:
    """The N of "best of N"."""
    found = re.fullmatch(r"best of ([1-9]\d*)", name)
    if not found:
        raise FspoError(f"there is no method {name!r}")
    return int(found[1])


def _trained(policy: Trained, recipe: EvaluateRecipe) -> Method:
    if policy.settings.get("method") == "rat":
        from fspo.methods.rat import Rat

        return Rat(policy.name, load_policy(policy.folder), recipe)
    if policy.settings.get("method") == "vpl":
        from fspo.learning.vpl import load_vpl
        from fspo.methods.vpl import Vpl

        return Vpl(policy.name, load_vpl(policy.folder), recipe)
    if policy.settings.get("method") == "ric":
        from fspo.methods.ric import SCALES, RewardsInContext
        from fspo.methods.scales import Scales

        scales = Scales.load(policy.folder / SCALES)
        return RewardsInContext(policy.name, load_policy(policy.folder), scales, recipe)
    return InContext(policy.name, load_policy(policy.folder), recipe)
