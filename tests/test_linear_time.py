"""Nobody's text holds a program up: every pattern in the sources takes time that grows linearly."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

import fspo
from fspo.assistant.pieces import Pieces, whole
from fspo.assistant.terminal import plain
from fspo.domains import measures
from fspo.domains.measures import casual
from fspo.learning.templates import before_next_heading, neutralize, restore
from fspo.study.cleaning import clean
from fspo.synthesis.answers import read_answer, read_views
from fspo.synthesis.personas import read_description
from fspo.synthesis.prompts import read_question
from fspo.synthesis.quoting import cell, one_line, quoted, sentences, whole_sentences

SOURCES = Path(fspo.__file__).parent
FUNCTIONS = (
    "compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"
)  # fmt: skip
# Where patterns are made from what only a function knows, what is looked at in their place.
MADE_AT_RUN_TIME: dict[str, Callable[[Any], list[str]]] = {
    "evaluation/reward_judge.py": lambda _: [],  # letters as they are: a test below looks at them
    "files.py": lambda _: [],  # a name as it is, and eight letters or digits
    "llm/faults.py": lambda _: [r"(?<![\w-])key(?![\w-])"],
    "known_faults.py": lambda _: [],  # a message's first words, and no more of it
    "llm/settings.py": lambda module: list(module._NAMED.values()),
}

# Compiled here, and used by `match` alone: there only the start of a text is looked at.
MATCHED = ("home.py", "yaml_files.py")

MILLION = 1_000_000
RUNS = ["\n", " ", "\t", "#", "<", "\\", "a", "1", ".", "\u200b", " \n", "\r\n", "a\n", "\n#", "<a"]
MIXED = ["\n" * 9 + "# ", " \t\n#<", "a b.", "\n \\", "a" * 99 + "\n"]


class Found:
    """A pattern of the sources, and how it is used."""

    def __init__(self, where: str, function: str, pattern: str, flags: int) -> None:
        self.where, self.pattern = where, re.compile(pattern, flags)
        self.anchored = function in ("match", "fullmatch") or where.startswith(MATCHED)

    def run(self, text: str) -> None:
        if self.anchored:
            self.pattern.match(text)
            self.pattern.fullmatch(text)
        else:
            for _ in self.pattern.finditer(text):
                pass


def patterns() -> Iterator[Found]:
    """Every call of `re` in the sources, with its pattern as the module itself would see it."""
    for path in sorted(SOURCES.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(SOURCES))
        assert not re.search(r"^\s*(from re import|import re as|import regex)", text, re.M), name
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=function)) if (
                    function in FUNCTIONS
                ):
                    module = importlib.import_module(
                        "fspo." + name.removesuffix(".py").replace("/", ".")
                    )
                    try:
                        found = [evaluated(node.args[0], module)]
                    except NameError:
                        assert name in MADE_AT_RUN_TIME, f"{name}:{node.lineno}: say what it makes"
                        found = MADE_AT_RUN_TIME[name](module)
                    flags = [word.value for word in node.keywords if word.arg == "flags"]
                    place = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(function, 2)
                    flags += node.args[place : place + 1]
                    for pattern in found:
                        flag = int(evaluated(flags[0], module)) if flags else 0
                        yield Found(f"{name}:{node.lineno}", function, pattern, flag)


def evaluated(node: ast.expr, module: Any) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), vars(module))


FOUND = list(patterns())


def in_time(read: Callable[[str], object], text: str, limit: float) -> bool:
    """Whether it takes less than so many seconds of this thread, in one of three tries."""
    for _ in range(3):
        start = time.thread_time()
        read(text)
        if time.thread_time() - start < limit:
            return True
    return False


def signs(pattern: re.Pattern[str]) -> list[str]:
    """Signs that a pattern looks for, and some that it does not."""
    kinds = {"category_space": " \n", "category_digit": "1", "category_word": "a"}
    found: list[str] = []

    def walk(node: Any) -> None:
        match node:
            case (op, int(code)) if str(op) in ("LITERAL", "NOT_LITERAL"):
                found.append(chr(code))
            case (op, (int(low), int(_))) if str(op) == "RANGE":
                found.append(chr(low))
            case (op, kind) if str(op) == "CATEGORY":
                found.extend(kinds.get(str(kind).lower(), "-"))
            case tuple() | list():
                for part in node:
                    walk(part)
            case _ if hasattr(node, "data"):
                walk(node.data)

    walk(re._parser.parse(pattern.pattern, pattern.flags))  # type: ignore[attr-defined]
    own = list(dict.fromkeys(found))
    return list(dict.fromkeys([*own[:: max(1, len(own) // 8)][:8], "\n", " ", "a"]))


def literals(pattern: re.Pattern[str]) -> list[str]:
    """Words that stand in a pattern as they are, such as one that it begins with."""
    return list(re.findall(r"[\w<>/=\", -]{3,}", pattern.pattern))[:4]


def test_the_sources_have_patterns() -> None:
    modules = {found.where.partition(":")[0] for found in FOUND}
    assert {"learning/templates.py", "synthesis/quoting.py", "study/cleaning.py"} <= modules


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.where)
def test_a_pattern_takes_linear_time_on_runs_of_its_own_signs(found: Found) -> None:
    size, own = 10_000, signs(found.pattern)
    texts = [*(sign * size for sign in own)]
    texts += [one * size + other for one in own for other in own]
    texts += [(one + other) * (size // 2) for one in own for other in own if one != other]
    texts += [word * (size // len(word)) for word in literals(found.pattern)]
    texts += [word + sign * size for word in literals(found.pattern) for sign in own]
    for text in texts:  # one that is quadratic takes some 0.5 s, a linear one 0.001
        assert in_time(found.run, text, 0.1), text[:20]


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.where)
def test_a_pattern_reads_a_million_signs_at_once(found: Found) -> None:
    for run in ["\n", " ", "#<", MIXED[0]]:
        assert in_time(found.run, run * (MILLION // len(run)) + "x", 5)


def test_markers_of_a_reward_judge() -> None:
    # The judge's one pattern: a choice between letters as they are, which takes back nothing.
    source = (SOURCES / "evaluation/reward_judge.py").read_text(encoding="utf-8")
    assert source.count("re.compile(") == source.count("re.escape(str(token))") == 1
    marks = [AddedToken(text) for text in ("<|end|>", "<|ende|>", "<<<<", "</s>")]
    pattern = "|".join(re.escape(str(token)) for token in marks)
    for run in ("<", "<|", "<|end", "</"):
        found = Found("", "compile", pattern, 0)
        assert in_time(found.run, run * MILLION, 5)


@given(st.text("ab .!?…,\n_é-"))
def test_sentences_are_those_of_the_plainer_patterns(text: str) -> None:
    assert measures.sentences(text) == re.findall(r"[^.!?…]*\w[^.!?…]*[.!?…]*", text)
    assert whole_sentences(text) == re.findall(r"[^.!?]+[.!?]", text)


def add_pieces(text: str) -> None:
    pieces = Pieces(["END", "#" * 200])
    pieces.add(text)
    pieces.add(text + "a")
    pieces.rest(text + "a")


READERS: list[Callable[[str], object]] = [
    neutralize, restore, before_next_heading, whole, add_pieces, plain, clean, measures.sentences,
    casual, quoted, one_line, cell, read_answer, read_views, read_description, read_question,
    lambda text: sentences(text, 3, 60),
]  # fmt: skip


@pytest.mark.parametrize("read", READERS)
def test_whatever_reads_peoples_texts_takes_linear_time(read: Callable[[str], object]) -> None:
    for run in [*RUNS, *MIXED]:
        assert in_time(read, run * (20_000 // len(run)) + "x", 0.3), run
    for run in ("\n", "\n" * 9 + "# "):
        assert in_time(read, run * (MILLION // len(run)) + "x", 5), run
