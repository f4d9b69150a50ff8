"""Reads a study's file and what it refers to, which is looked for beside it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fspo.errors import FspoError
from fspo.preferences.records import Preference
from fspo.recipe import read_recipe
from fspo.study.cleaning import clean
from fspo.study.definition import Language, Study


class Pools(NamedTuple):
    """What is drawn from, in one language: pairs to label and questions to judge."""

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
    pools = {code: _pools(path, study, code) for code in study.languages}
    return study, pools


def _pools(path: Path, study: Study, code: str) -> Pools:
    language, place = study.languages[code], f"{path}: languages.{code}"
    pairs = _pairs(path, language)
    about = {pair.prompt for pair in pairs}
    if len(about) < study.label_pairs:
        raise FspoError(
            f"{place}.pairs: there are pairs about {len(about)} different questions, and "
            f"label_pairs asks for {study.label_pairs}; add some, or lower it"
        )
    questions = list(dict.fromkeys(_questions(path, place, language)))
    # A participant never judges a question that was among the labeled ones.
    needed = study.judge_questions + min(study.label_pairs, len(about & set(questions)))
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
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FspoError(f"{place}.questions_from: {file} cannot be read: {error}") from error
    return [clean(line) for line in lines if clean(line)]
