import json
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model

from fspo.errors import FspoError
from fspo.llm.local import LocalModel
from fspo.synthesis import responses
from fspo.synthesis.responses import Answer, Request, _different, ask, tidy

REQUEST = Request(("kind", "rude"), ["a", "b", "c"], seed=5, model="small")


def conversation(persona: str, title: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{persona}: {title}"}]


def always(persona: str, text: str) -> bool:
    return True


def often(persona: str, text: str) -> bool:
    return sum(text.encode()) % 3 > 0


def load() -> LocalModel:
    return LocalModel(small_model(), byte_tokenizer())


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(responses, "TITLES_IN_A_CHUNK", 2)
    monkeypatch.setattr(responses, "MAX_NEW_TOKENS", 12)
    # What a model with random weights writes is no answer; whatever it is, it will do here.
    monkeypatch.setattr(responses, "tidy", lambda text: text or None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A fine book. I liked", "A fine book."),
        ("  A fine\n\nbook!  ", "A fine book!"),
        ('"A fine book."', "A fine book."),
        ("**A fine book.**", "A fine book."),
        ('He says "A fine book."', 'He says "A fine book."'),
        ("No end of a sentence", None),
        ("", None),
        ("Fine book.", None),
        ("bad bad bad bad bad bad.", None),
        ("I'm sorry, but I cannot review this book.", None),
        ("As an AI language model I have no opinion.", None),
        ("I am sorry that I read this book.", "I am sorry that I read this book."),
    ],
)
def test_tidy(text, expected):
    assert tidy(text) == expected


def test_an_answer_is_kept_once_for_a_title():
    answers = [
        Answer("a", "kind", "It was very good."),
        Answer("a", "rude", "It was very good."),
        Answer("b", "kind", "It was very good."),
    ]
    assert _different(answers) == [answers[0], answers[2]]


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_what_fits_is_asked_once_and_in_order(tmp_path):
    answers, written = ask(REQUEST, conversation, always, load, tmp_path / "r.jsonl")
    asked = [(a.persona, a.title) for a in answers]
    assert asked == [(p, t) for p in ("kind", "rude") for t in ("a", "b", "c")]
    assert written == len({a.text for a in answers}) == 6


def test_what_does_not_fit_is_asked_again_until_it_does(tmp_path):
    first, _ = ask(REQUEST, conversation, always, load, tmp_path / "first.jsonl")
    bad = {first[1].text, first[5].text}  # "kind" about b, "rude" about c

    def fits(persona: str, text: str) -> bool:
        return text not in bad

    answers, written = ask(REQUEST, conversation, fits, load, tmp_path / "r.jsonl")
    assert written == 8
    assert [line["titles"] for line in read(tmp_path / "r.jsonl")[4:]] == [["b"], ["c"]]
    assert [(a.persona, a.title) for a in answers] == [(a.persona, a.title) for a in first]
    changed = [a != b for a, b in zip(first, answers, strict=True)]
    assert changed == [False, True, False, False, False, True]


def test_what_never_fits_is_left_out(tmp_path):
    answers, written = ask(
        REQUEST, conversation, lambda persona, _: persona == "kind", load, tmp_path / "r.jsonl"
    )
    assert [a.persona for a in answers] == ["kind"] * 3
    assert written == 3 + 3 * responses.TRIES


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, share):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = ask(REQUEST, conversation, often, load, whole)
    written = whole.read_bytes()
    cut.write_bytes(written[: int(share * len(written))])
    assert ask(REQUEST, conversation, often, load, cut) == expected
    assert cut.read_bytes() == written


def test_what_is_there_is_not_asked_for_again(tmp_path):
    path = tmp_path / "r.jsonl"
    expected = ask(REQUEST, conversation, often, load, path)

    def never() -> LocalModel:
        raise AssertionError("the model was loaded")

    assert ask(REQUEST, conversation, often, never, path) == expected


def test_another_seed_asks_for_other_answers(tmp_path):
    first, _ = ask(REQUEST, conversation, often, load, tmp_path / "5.jsonl")
    other, _ = ask(REQUEST._replace(seed=6), conversation, often, load, tmp_path / "6.jsonl")
    assert [a.text for a in first] != [a.text for a in other]


def test_answers_of_another_run_are_left_alone(tmp_path):
    path = tmp_path / "r.jsonl"
    ask(REQUEST, conversation, often, load, path)
    before = path.read_bytes()
    with pytest.raises(FspoError, match="other settings"):
        ask(REQUEST._replace(seed=6), conversation, often, load, path)
    assert path.read_bytes() == before
    assert json.loads(before.splitlines()[0])["seed"] == 5
