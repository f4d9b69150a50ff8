"""Domains: the project's own, and whatever can be wrong with somebody's."""

import re
import sys
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from small_domain import write_domain

from fspo.domains.domain import domain_names, load_domain
from fspo.domains.measures import MEASURES
from fspo.errors import FspoError

OWN = ("elix", "reviews", "roleplay")
CONTESTED = re.compile(
    r"abortion|religio|\bgod\b|\bgun|immigra|\belection|president|democrat|republican|communis|"
    r"capitalis|gender|racis|politic|mandat|euthanasia|death penalty|terror|\bwar crimes",
    re.I,
)


@pytest.mark.parametrize("name", OWN)
def test_our_domains_load_and_say_where_their_tables_come_from(name):
    domain = load_domain(name)
    assert name in domain_names()
    for trait in domain.traits:
        assert len(trait.source.split()) >= 4
        assert len({value.value for value in trait.values}) == len(trait.values)


@pytest.mark.parametrize("name", ["elix", "roleplay"])
def test_there_are_500_questions_over_many_topics_each_once(name):
    questions = load_domain(name).questions
    texts = [text for own in questions.values() for text in own]
    assert len(texts) >= 500
    assert len(questions) >= 20
    folded = {re.sub(r"\W+", " ", text.lower()).strip() for text in texts}
    assert len(folded) == len(texts)
    assert [text for text in texts if CONTESTED.search(text)] == []
    # Either a question or a request.
    assert [text for text in texts if not text.endswith(("?", "."))] == []


def test_the_reviews_domain_asks_about_its_titles():
    questions = load_domain("reviews").questions
    assert set(questions) == {"movies", "tv_shows", "anime", "books"}
    assert all(q.startswith("Write a review of the movie ") for q in questions["movies"])


def test_levels_of_elix_want_higher_grades_one_after_the_other():
    [level] = [trait for trait in load_domain("elix").traits if trait.name == "level"]
    grades = [value.wants["grade"] for value in level.values]
    assert len(grades) == 10
    assert all(low < high for low, high in pairwise(grades))


FAULTS = [
    ("sentence: They love {}.", "sentnce: They love {}.", r"sentnce.*did you mean 'sentence'"),
    ("sentence: They love {}.", "sentence: They love it.", r"one \{\}, where the text goes in"),
    ("  words: {scale: 5}", "  wirds: {scale: 5}", "unknown measure 'wirds'; there are words"),
    ("  words: {scale: 5}", "  grade: {scale: 5}", "users want 'words'"),
    ("scale: 5", "scale: 0", "measures.words.scale: input should be greater than 0"),
    ("name: tiny", "name: ../tiny", "name: string should match pattern"),
    ("diversity: personas", "diversity: luck", "diversity: input should be 'none'"),
    ("traits:", "traits: [", "this is not YAML"),
    ("scale: 5}", "scale: 5, tolerance: 0}", "tolerance: input should be greater than 0"),
    ("traits:", "personas: [{kind: a, description: b, ask: c}]\ntraits:", r"one \{\}, where the"),
    (
        "traits:",
        "personas: [{kind: a, description: b, importance: {grade: 1}}]\ntraits:",
        "users want 'grade', which `measures` does not list",
    ),
    ("  words: {scale: 5}", "  words: {scale: 5, unit: 1}", "unknown key 'measures.words.unit'"),
]


@pytest.mark.parametrize(("line", "wrong", "told"), FAULTS)
def test_what_is_wrong_with_a_domain_is_told_with_file_and_key(tmp_path, line, wrong, told):
    folder = write_domain(tmp_path / "tiny")
    path = folder / "domain.yaml"
    text = path.read_text(encoding="utf-8")
    assert line in text
    path.write_text(text.replace(line, wrong, 1), encoding="utf-8")
    with pytest.raises(FspoError, match=told) as caught:
        load_domain(str(folder))
    assert str(path) in str(caught.value)


def test_a_domain_without_questions_or_without_its_file_is_told(tmp_path):
    folder = write_domain(tmp_path / "tiny")
    for path in (folder / "questions").iterdir():
        path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(FspoError, match=r"questions: holds no questions"):
        load_domain(str(folder))
    (folder / "questions" / "why.txt").write_bytes(b"\xff\xfe?")
    with pytest.raises(FspoError, match=r"why\.txt: is not UTF-8"):
        load_domain(str(folder))
    (folder / "domain.yaml").unlink()
    with pytest.raises(FspoError, match="this one has none"):
        load_domain(str(folder))
    with pytest.raises(FspoError, match="did you mean 'roleplay'"):
        load_domain("rollplay")


@pytest.mark.parametrize("what", ["FOLDER", "folder"])
def test_another_package_can_bring_a_domain(tmp_path, monkeypatch, what):
    """An entry point is the path of a folder, or a function that gives it."""
    write_domain(tmp_path / "fspo_tiny" / "tiny")
    code = (
        "from pathlib import Path\n"
        "FOLDER = Path(__file__).parent / 'tiny'\n"
        "def folder():\n    return FOLDER\n"
    )
    (tmp_path / "fspo_tiny" / "__init__.py").write_text(code, encoding="utf-8")
    info = tmp_path / "fspo_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fspo-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fspo.domains]\ntiny = fspo_tiny:{what}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fspo_tiny", raising=False)
    assert "tiny" in domain_names()
    assert load_domain("tiny").title == "Tiny questions"


def test_measures_tell_texts_apart_as_a_reader_would():
    grade, casual = MEASURES["grade"], MEASURES["casual"]
    easy = "The sun is hot. It gives us light. We can see and play."
    hard = (
        "Thermonuclear fusion converts hydrogen into helium, liberating electromagnetic radiation "
        "that sustains photosynthetic organisms throughout the terrestrial biosphere."
    )
    # Flesch and Kincaid 1975: 0.39 words a sentence + 11.8 syllables a word - 15.59. The easy text
    # has 13 words in three sentences, all of one syllable.
    assert grade(easy) == pytest.approx(max(0.0, 0.39 * 13 / 3 + 11.8 - 15.59), abs=0.2)
    assert grade(hard) == 20.0
    assert casual("It is a sound piece of work. The cast is good.") == 0
    assert casual("It's great! You can't miss it.") == 1
    assert casual("It's great. The cast is good.") == 0.5
    assert [MEASURES["words"](text) for text in ("", "one  two\nthree")] == [0, 3]
    assert MEASURES["sentiment"]("Awful, boring and bad.") < -0.5 < 0.5
    assert MEASURES["sentiment"]("A wonderful, lovely, great book.") > 0.5


def test_folders_given_by_path_win_over_nothing_else(tmp_path, monkeypatch):
    """A folder in the working directory does not hide a domain of ours."""
    write_domain(tmp_path / "elix")
    monkeypatch.chdir(tmp_path)
    assert load_domain("elix").title == "Explain like I am X"
    assert load_domain("./elix").title == "Tiny questions"
    assert load_domain(str(Path("elix").resolve())).title == "Tiny questions"


def test_no_two_questions_of_a_domain_are_nearly_the_same():
    from fspo.synthesis.embedding import MiniLM
    from fspo.synthesis.prompts import ALIKE

    pytest.importorskip("sentence_transformers")
    for name in ("elix", "roleplay"):
        texts = [text for own in load_domain(name).questions.values() for text in own]
        vectors = MiniLM()(texts)
        alike = vectors @ vectors.T
        pairs = [
            (texts[i], texts[j])
            for i, j in combinations(range(len(texts)), 2)
            if alike[i, j] > ALIKE
        ]
        assert len(pairs) <= 0.02 * len(texts), pairs
