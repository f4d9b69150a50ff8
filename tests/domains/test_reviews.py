"""Reviews: its titles, its measures, and the personas that it lists."""

from collections import Counter
from itertools import combinations

import pytest

from fspo.domains.domain import load_domain
from fspo.domains.measures import sentiment, words

REVIEWS = load_domain("reviews")
PRAISE, VERBOSITY = REVIEWS.functions["praise"], REVIEWS.functions["verbosity"]
TRAINED = [persona for persona in REVIEWS.personas if not persona.test_only]
BETWEEN = [persona for persona in REVIEWS.personas if persona.test_only]


def test_there_are_many_titles_and_each_is_there_once():
    assert set(REVIEWS.questions) == {"movies", "tv_shows", "anime", "books"}
    assert all(len(group) >= 100 for group in REVIEWS.questions.values())
    asked = [text.casefold() for group in REVIEWS.questions.values() for text in group]
    names = [title_of(text) for text in asked]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def title_of(question: str) -> str:
    """The title alone: "write a review of the movie titanic (1997)." -> "titanic (1997)"."""
    for opening in ("movie ", "tv show ", "anime ", "book "):
        if question.startswith(f"write a review of the {opening}"):
            return question.removeprefix(f"write a review of the {opening}").removesuffix(".")
    raise AssertionError(question)


def test_questions_say_what_a_title_is():
    asked = REVIEWS.questions
    assert "Write a review of the movie Titanic (1997)." in asked["movies"]
    assert "Write a review of the anime Akira." in asked["anime"]
    assert all(text.startswith("Write a review of the book ") for text in asked["books"])
    assert all(" by " in text for text in asked["books"])
    assert all(text[-7] == "(" and text[-6:-2].isdigit() for text in asked["movies"])


def test_words_count_on_a_logarithmic_scale():
    texts = {count: " ".join(["word"] * count) for count in (0, 1, 10, 20, 25, 1000)}
    assert [VERBOSITY(texts[count]) for count in (0, 1, 10, 1000)] == [-1, -1, -1, 1]
    assert VERBOSITY(texts[25]) == pytest.approx(1)
    assert VERBOSITY(texts[20]) == pytest.approx(0.5129, abs=1e-4)  # 2 ln 2 / ln 2.5 - 1


def test_sentiment_of_texts_whose_sentiment_is_plain():
    assert (sentiment(""), words("")) == (0, 0)
    assert (sentiment("The sky is above the ground"), sentiment("... !?")) == (0, 0)
    # VADER's lexicon gives "good" 1.9; compound is 1.9 / sqrt(1.9 ** 2 + 15).
    assert sentiment("good") == pytest.approx(0.4404, abs=1e-4)
    assert sentiment("An awful mess.") < -0.5


def test_sentiment_does_not_grow_with_length():
    assert sentiment("This film is good. " * 9) == pytest.approx(0.4404, abs=1e-4)
    assert sentiment("Good. It rained?! Good... !") == pytest.approx(2 / 3 * 0.4404, abs=1e-4)


def test_praise_is_clear_or_less_clear():
    assert PRAISE("good") == pytest.approx(0.8809, abs=1e-4)  # 0.4404 / 0.5
    assert (PRAISE("An awful mess."), PRAISE("It is superb!"), PRAISE("A film.")) == (-1, 1, 0)


def test_personas_stand_in_fours_of_different_wishes_opposites_side_by_side():
    for group in (TRAINED, BETWEEN):
        assert len(group) % 4 == 0
        for start in range(0, len(group), 4):
            four = [persona.wants for persona in group[start : start + 4]]
            assert all(one != other for one, other in combinations(four, 2))
            for one, other in (four[:2], four[2:]):
                assert other == {name: -value for name, value in one.items()}


def test_trained_personas_are_the_corners_and_the_others_lie_between():
    assert [persona.kind for persona in TRAINED] == [
        "positive, verbose", "negative, concise", "positive, concise", "negative, verbose",
    ]  # fmt: skip
    for persona in TRAINED:
        praise, length = persona.kind.split(", ")
        assert persona.wants == {
            "praise": 1 if praise == "positive" else -1,
            "verbosity": 1 if length == "verbose" else -1,
        }
        assert not persona.importance
    assert {persona.kind for persona in BETWEEN} == {"interpolated"}
    assert all(len(persona.wants) == 1 or persona.importance for persona in BETWEEN)


def test_descriptions_say_what_to_write():
    for persona in REVIEWS.personas:
        said, wants = persona.description, persona.wants
        assert ("negative and harsh" in said) == (wants.get("praise") == -1)
        assert ("full of praise" in said) == (wants.get("praise") == 1)
        assert ("one brief sentence" in said) == (wants.get("verbosity") == -1)
        assert ("full paragraph" in said) == (wants.get("verbosity") == 1)
        assert ("does not matter" in said) == (len(wants) == 1)
        assert ("matters less" in said) == bool(persona.importance)


@pytest.mark.parametrize("persona", TRAINED, ids=lambda persona: persona.kind)
def test_the_examples_of_a_persona_are_what_it_stands_for(persona):
    assert len(persona.examples) >= 2
    for example in persona.examples:
        fitting = [p.kind for p in TRAINED if REVIEWS.suits(p.wants, example.answer)]
        assert fitting == [persona.kind]


@pytest.mark.parametrize(
    "text",
    ["", "The sky is above the ground.", "It was good and bad, a wonderful and horrible thing."],
)
def test_what_neither_praises_nor_complains_suits_nobody(text):
    assert not any(REVIEWS.suits(persona.wants, text) for persona in TRAINED)
