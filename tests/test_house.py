"""The arrows of import: a room imports only rooms to its left, and no modules go in a circle.

    preferences -> llm, domains -> judging -> synthesis
    preferences -> learning -> methods -> evaluation -> assistant, study -> commands

Modules outside of rooms are either commands and the public face, which import any room, or common
ground, which imports none.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fspo

SOURCES = Path(fspo.__file__).parent
COMMON, COMMANDS = "common ground", "commands"
IN_COMMANDS = {
    "__init__", "__main__", "cli", "demo", "paper", "paper_recipe", "paper_table",
    "personal_policy", "runs",
}  # fmt: skip

EVALUATION = {"preferences", "llm", "domains", "judging", "learning", "methods"}
# room -> the rooms to its left, beside the common ground
LEFT = {
    COMMON: set(),
    "web": set(),
    "preferences": set(),
    "llm": {"preferences"},
    "domains": {"preferences"},
    "judging": {"preferences", "llm", "domains"},
    "synthesis": {"preferences", "llm", "domains", "judging"},
    "learning": {"preferences"},
    "methods": {"preferences", "llm", "domains", "learning"},
    "evaluation": EVALUATION,
    "assistant": {*EVALUATION, "evaluation", "web"},
    "study": {*EVALUATION, "evaluation", "web"},
}
# Imports that go against the arrows, and how many there are. These numbers only become smaller.
AGAINST = {
    ("common ground", "learning"): 5,
    ("common ground", "methods"): 1,  # a recipe has a section for each method in the table
    ("common ground", "preferences"): 1,
    ("learning", "llm"): 1,
    ("learning", "methods"): 2,
    ("llm", "learning"): 4,
    ("study", "assistant"): 6,
}
# Modules that import each other, in a circle of any length. No circle is added.
CIRCLES = [
    {
        "fspo.embedded",
        "fspo.fingerprints",
        "fspo.learning.exactness",
        "fspo.learning.scoring",
        "fspo.llm.local",
        "fspo.llm.writing",
        "fspo.models",
        "fspo.places",
    },
    {"fspo.llm.build", "fspo.llm.cluster"},
    {"fspo.preferences.parquet_files", "fspo.preferences.tables"},
]


@cache
def modules() -> list[str]:
    """Every module's name, such as `fspo.llm.build`; a room's own is `fspo.llm.__init__`."""
    paths = (path.relative_to(SOURCES).with_suffix("") for path in SOURCES.rglob("*.py"))
    return sorted(".".join(("fspo", *path.parts)) for path in paths)


def imports_of(module: str) -> Iterator[str]:
    """What a module imports of ours, once for each statement, inside functions, too.

    What only the type checker reads is left out.
    """
    tree = ast.parse(SOURCES.joinpath(*module.split(".")[1:]).with_suffix(".py").read_bytes())
    for node in _run(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            if (node.module or "").split(".")[0] == "fspo":
                yield from {_named(f"{node.module}.{name.name}") for name in node.names}
        elif isinstance(node, ast.Import):
            names = (name.name for name in node.names)
            yield from (_named(name) for name in names if name.split(".")[0] == "fspo")


def _run(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _run(child)


@cache
def _named(name: str) -> str:
    """The module that a dotted name is, or is found in."""
    while name:
        for found in (name, f"{name}.__init__"):
            if found in modules():
                return found
        name = name.rpartition(".")[0]
    raise AssertionError(f"{name}: no module of ours")


def room_of(module: str) -> str:
    _, first, *rest = module.split(".")
    return first if rest else COMMANDS if first in IN_COMMANDS else COMMON


def test_every_module_is_in_a_room_that_is_known():
    assert {room_of(module) for module in modules()} == {*LEFT, COMMANDS}
    for room, left in LEFT.items():
        for other in left:
            assert LEFT[other] < left, f"what is left of {other} is left of {room}, too"


def test_a_room_imports_only_rooms_to_its_left():
    against: Counter[tuple[str, str]] = Counter()
    for module in modules():
        room = room_of(module)
        for imported in imports_of(module) if room != COMMANDS else ():
            # The version is the package's own, and everybody's.
            to = COMMON if imported == "fspo.__init__" else room_of(imported)
            if to not in (room, COMMON) and to not in LEFT[room]:
                against[room, to] += 1
    assert dict(against) == AGAINST, "lower a number that has shrunk; never raise one"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: set(imports_of(module)) - {module} for module in modules()}
    left = set(graph)
    while leaves := {m for m in left if not graph[m] & left}:
        left -= leaves
    while starts := left - set().union(*(graph[m] for m in left)):
        left -= starts
    circles = []
    while left:
        one = min(left)
        circle = {m for m in _reached(graph, one, left) if one in _reached(graph, m, left)}
        circles += [circle] if len(circle) > 1 else []
        left -= circle | {one}
    assert circles == CIRCLES


def _reached(graph: dict[str, set[str]], start: str, among: set[str]) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        new = (graph[waiting.pop()] & among) - found
        found |= new
        waiting += new
    return found
