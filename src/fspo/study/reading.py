"""Reads a study's file and what it refers to, which is looked for beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fspo.errors import FspoError, excerpt
from fspo.preferences.records import Preference, plain_text
from fspo.recipe import read_recipe
from fspo.study.cleaning import clean
from fspo.study.definition import Language, Study
from fspo.text_files import read_lines


class Pools(NamedTuple):
    """The pairs to label and the questions to judge that are drawn from, in one language."""

    pairs: list[Preference]
    questions: list[str]


def read_study(path: Path) -> tuple[Study, dict[str, Pools]]:
    """Reads a study and what it refers to.

    Args:
        path: the YAML file.

    Returns:
        The study, and for each language what is drawn from.

    Raises:
        FspoError: naming the file and the field, or what the file refers to and lacks.
    """
    study = read_recipe(Study, path, {})
    fault = next(faults(study), None)
    if fault:
        raise FspoError(f"{path}: {fault}")
    pools = {code: _pools(path, study, code) for code in study.languages}
    return study, pools


def faults(study: Study) -> Iterator[str]:
    """Yields what is wrong between fields, each in one line; nothing where all is well."""
    for one, other in study.comparisons:
        for unknown in sorted({one, other} - set(study.methods)):
            yield f"comparisons: there is no method {unknown!r}; add it to methods"
        if one == other:
            yield f"comparisons: {one!r} is compared with itself"
    if len({frozenset(pair) for pair in study.comparisons}) < len(study.comparisons):
        yield "comparisons: two methods are compared twice; name them once"
    first, *others = study.languages
    for code, language in study.languages.items():
        for fault in _faults_in(language):
            yield f"languages.{code}: {fault}"
    for code in others:  # numbers must mean the same in all languages
        if _asked(study.languages[code]) != _asked(study.languages[first]):
            yield f"languages.{code}.asks: names or choices differ from those of {first}"
        if _checked(study.languages[code]) != _checked(study.languages[first]):
            yield f"languages.{code}.checks: not as many in each stage as {first} has"


def _faults_in(language: Language) -> Iterator[str]:
    if bool(language.pairs) == bool(language.pairs_from):
        yield "give either `pairs` or `pairs_from`"
    if bool(language.questions) == bool(language.questions_from):
        yield "give either `questions` or `questions_from`"
    names = [ask.name for ask in language.asks]
    if len(set(names)) < len(names):
        yield "asks: two of them have the same name"
    for pair in (*language.pairs, *language.practice):
        if pair.answers[0] == pair.answers[1]:
            yield f"the two answers to {excerpt(pair.question)} are the same text"


def _asked(language: Language) -> list[tuple[str, list[str]]]:
    return [(ask.name, list(ask.choices)) for ask in language.asks]


def _checked(language: Language) -> Counter[str]:
    return Counter(check.stage for check in language.checks)


def _pools(path: Path, study: Study, code: str) -> Pools:
    language, place = study.languages[code], f"{path}: languages.{code}"
    pairs = _pairs(path, language)
    about = {pair.plain[0] for pair in pairs}
    if len(about) < study.label_pairs:
        raise FspoError(
            f"{place}.pairs: there are pairs about {len(about)} different questions, and "
            f"label_pairs asks for {study.label_pairs}; add some, or lower it"
        )
    different = {pair.plain_pair for pair in pairs}
    if 1 < len(different) < study.label_pairs:  # nobody labels the same two answers twice
        raise FspoError(
            f"{place}.pairs: they are between {len(different)} different pairs of answers, and "
            f"label_pairs asks for {study.label_pairs}; add some, or lower it"
        )
    spelled: dict[str, str] = {}
    for question in _questions(path, place, language):
        spelled.setdefault(plain_text(question), question)
    questions = list(spelled.values())
    # A participant never judges a question that was among the labeled ones.
    needed = study.judge_questions + min(study.label_pairs, len(about & spelled.keys()))
    if len(questions) < needed:
        raise FspoError(
            f"{place}.questions: there are {len(questions)} different ones, and judge_questions "
            f"asks for {study.judge_questions} beside those that a participant labels: "
            f"{needed} are needed; add some, or lower it"
        )
    return Pools(pairs, questions)


def _pairs(path: Path, language: Language) -> list[Preference]:
    if language.pairs:
        rows = [Preference(p.question, *p.answers, f"pair {n}")
                for n, p in enumerate(language.pairs, 1)]  # fmt: skip
    else:
        from fspo.preferences.reading import load_preferences

        found = load_preferences(path.parent / language.pairs_from, drop_ties=True)
        rows = [preference for _, preference in found]
    cleaned = [Preference(clean(p.prompt), clean(p.chosen), clean(p.rejected), p.row) for p in rows]
    return [p for p in cleaned if p.prompt and p.chosen and p.rejected and p.chosen != p.rejected]


def _questions(path: Path, place: str, language: Language) -> list[str]:
    if language.questions:
        return list(language.questions)
    file = path.parent / language.questions_from
    try:
        lines = read_lines(file)
    except OSError as error:
        reason = error.strerror or error
        raise FspoError(f"{place}.questions_from: {file} cannot be read: {reason}") from error
    return [clean(line) for line in lines if clean(line)]
