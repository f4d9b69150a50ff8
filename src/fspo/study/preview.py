"""A walk through a study in text: what a participant would read, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from fspo.study.assignment import Item, assign
from fspo.study.definition import Study
from fspo.study.reading import Pools
from fspo.study.wording import still_english


def preview(study: Study, pools: Pools, language: str, number: int = 0) -> Iterator[str]:
    """The pages of one participant in order, and, at the end, what participants do not see.

    Args:
        study: what is asked.
        pools: what is drawn from, in this language.
        language: one of the study's.
        number: of the participant, from 0.
    """
    own, items = study.languages[language], assign(study, pools, language, number)
    words = study.wording(language)
    yield _page(own.title, own.consent, f"[ ] {words['agree']}", f"({words['start']})")
    yield _page(own.title, own.instructions, f"({words['go_on']})")
    for stage in ("practice", "label"):
        yield from _items(items, stage, words)
    yield _page(words["judge"], own.judging, f"({words['go_on']})")
    yield from _items(items, "judge", words)
    yield _page(words["asks"], *(
        f"{ask.question}  [{' | '.join(ask.choices.values()) or '...'}]" for ask in own.asks
    ))  # fmt: skip
    yield _page(words["done"], own.thanks, f"{words['code']}: {study.completion.code}",
                study.completion.redirect)  # fmt: skip
    yield "\n".join(_unseen(study, own.words, language))


def _items(items: list[Item], stage: str, words: dict[str, str]) -> Iterator[str]:
    shown = [item for item in items if item.stage == stage]
    for number, item in enumerate(shown, 1):
        mark = "   <- attention check" if item.right_choice else ""
        yield _page(
            f"{words[stage]} {number} {words['of']} {len(shown)}{mark}",
            f"{words['question']}: {item.question}",
            f"{words['left']}: {item.left or f'<{item.left_method}>'}",
            f"{words['right']}: {item.right or f'<{item.right_method}>'}",
        )


def _unseen(study: Study, words: dict[str, str], language: str) -> Iterator[str]:
    yield "--- what participants do not see"
    for name, method in study.methods.items():
        yield f"{name}: {method.answers}, {method.policy} {method.server}".rstrip()
    for one, other in study.comparisons:
        yield f"compared: {one} against {other}"
    yield f"left out of results: {study.exclusion_rules()}"
    if missing := still_english(language, words):
        yield f"still in English ({language}.words): {', '.join(missing)}"


def _page(title: str, *lines: str) -> str:
    return "\n".join([f"--- {title}", *(line for line in lines if line), ""])
