from collections import Counter

import numpy as np
import pytest

from fspo.domains import load_domain
from fspo.domains.reviews import (
    PERSONAS,
    conversation,
    describe,
    fits,
    measure,
    prompt,
    titles,
    users,
    utility,
)
from fspo.domains.reviews.measures import CLEAR, LONG, SHORT, praise, verbosity
from fspo.errors import FspoError


def test_there_are_many_titles_and_each_is_there_once():
    by_category = titles()
    assert set(by_category) == {"movies", "tv_shows", "anime", "books"}
    assert all(len(group) >= 100 for group in by_category.values())
    names = [name.split(" ", 2)[2].casefold() for group in by_category.values() for name in group]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    prompts = {prompt(name) for group in by_category.values() for name in group}
    assert len(prompts) == len(names)


def test_titles_say_what_they_are():
    by_category = titles()
    assert "the movie Titanic (1997)" in by_category["movies"]
    assert all(name.startswith("the book ") and " by " in name for name in by_category["books"])
    assert all(name[-6] == "(" and name[-5:-1].isdigit() for name in by_category["movies"])
    assert all(name == name.strip() for group in by_category.values() for name in group)
    assert prompt("the anime Akira") == "Write a review of the anime Akira."


def test_words_count_on_a_logarithmic_scale():
    assert verbosity(SHORT) == -1
    assert verbosity(LONG) == pytest.approx(1)
    assert verbosity(250**0.5) == pytest.approx(0)  # as many times 10 as 25 is times it
    assert verbosity(20) == pytest.approx(0.5129, abs=1e-4)  # 2 ln 2 / ln 2.5 - 1
    assert (verbosity(0), verbosity(1), verbosity(1000)) == (-1, -1, 1)


def test_measure_of_texts_whose_sentiment_is_plain():
    assert measure("") == {"sentiment": 0, "words": 0}
    assert measure("The sky is above the ground") == {"sentiment": 0, "words": 6}
    # VADER's lexicon gives "good" 1.9; compound is 1.9 / sqrt(1.9 ** 2 + 15).
    assert measure("good") == {"sentiment": pytest.approx(0.4404), "words": 1}
    assert measure("An awful mess.")["sentiment"] < -0.5


def test_sentiment_does_not_grow_with_length():
    sentence = "This film is good. "
    assert measure(sentence * 9)["sentiment"] == pytest.approx(0.4404, abs=1e-4)
    assert measure("Good. It rained?! Good... !")["sentiment"] == pytest.approx(
        2 / 3 * 0.4404, abs=1e-4
    )
    assert measure("... !?") == {"sentiment": 0, "words": 2}


def test_praise_is_clear_or_less_clear():
    assert [praise(x) for x in (-0.9, -CLEAR, -0.2, 0, 0.2, CLEAR, 0.9)] == [
        -1, -1, pytest.approx(-0.4), 0, pytest.approx(0.4), 1, 1
    ]  # fmt: skip


def test_utility_of_worked_examples():
    neutral = " ".join(["word"] * 20)  # sentiment 0, verbosity 0.5129
    assert utility({"sentiment": 1, "verbosity": 1}, neutral) == pytest.approx(0.5129, abs=1e-4)
    long = " ".join(["word"] * 50)
    assert utility({"sentiment": -0.9, "verbosity": 0.8}, long) == pytest.approx(0.8)
    assert utility({"sentiment": 1, "verbosity": -0.5}, "good") == pytest.approx(
        0.8809 + 0.5, abs=1e-4
    )
    assert utility({"sentiment": -1, "verbosity": 0}, "good") == pytest.approx(-0.8809, abs=1e-4)
    assert utility({"sentiment": 0.7, "verbosity": 0}, "It is superb!") == pytest.approx(0.7)


def test_every_user_has_an_opposite_next_to_it():
    population = users("test", 24, 24, np.random.default_rng(0))
    tastes = [(u.attributes["sentiment"], u.attributes["verbosity"]) for u in population]
    for (a, b), (c, d) in zip(tastes[::2], tastes[1::2], strict=True):
        assert (a, b) == (-c, -d)
        assert (a, b) != (0, 0)
    assert np.sum(tastes, axis=0).tolist() == [0, 0]


def test_the_kinds_are_equally_frequent_and_in_their_corners():
    population = users("train", 16, 12, np.random.default_rng(0))
    assert Counter(u.attributes["kind"] for u in population) == {
        **dict.fromkeys(PERSONAS, 4),
        "interpolated": 12,
    }
    for user in population:
        a, b = user.attributes["sentiment"], user.attributes["verbosity"]
        in_a_corner = min(abs(a), abs(b)) >= 0.8
        assert in_a_corner == (user.attributes["kind"] != "interpolated")
        assert max(abs(a), abs(b)) <= 1
        if in_a_corner:
            named = ("positive" if a > 0 else "negative", "verbose" if b > 0 else "concise")
            assert user.attributes["kind"] == ", ".join(named)
    assert len({abs(u.attributes["sentiment"]) for u in population}) > 4  # users differ
    assert len({u.user_id for u in population}) == 28
    assert {u.split for u in population} == {"train"}


def test_users_depend_on_the_generator_alone():
    first, again, other = (users("train", 8, 8, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_an_unbalanced_population_is_refused():
    with pytest.raises(FspoError, match="multiples of 4"):
        users("train", 6, 0, np.random.default_rng(0))


def test_descriptions_say_what_to_write():
    assert "negative and harsh" in describe(-0.9, -0.9)
    assert "one brief sentence" in describe(-0.9, -0.9)
    assert "full paragraph" in describe(0.9, 1.0)
    assert "length" not in describe(0.0, 1.0)
    assert "How long a review is does not matter" in describe(1.0, 0.0)
    assert "matters less" in describe(1.0, 0.4)
    assert "matters less" not in describe(1.0, 1.0)


@pytest.mark.parametrize("persona", PERSONAS)
def test_the_examples_of_a_persona_are_what_it_stands_for(persona):
    messages = conversation(persona, "the book Emma by Jane Austen")
    assert messages[-1]["role"] == "user"
    assert "Emma" in messages[-1]["content"]
    sentiment, length = persona.split(", ")
    sign = 1 if sentiment == "positive" else -1
    for message in messages:
        if message["role"] == "assistant":
            found = measure(message["content"])
            assert found["sentiment"] * sign > 0.4
            assert (found["words"] > LONG) == (length == "verbose")
            assert [other for other in PERSONAS if fits(other, message["content"])] == [persona]


@pytest.mark.parametrize(
    "text",
    ["", "The sky is above the ground.", "It was good and bad, a wonderful and horrible thing."],
)
def test_what_neither_praises_nor_complains_fits_nobody(text):
    assert not any(fits(persona, text) for persona in PERSONAS)


def test_domains_are_loaded_by_name():
    assert load_domain("reviews").prompt("the anime Akira") == "Write a review of the anime Akira."
    with pytest.raises(FspoError, match="did you mean 'reviews'"):
        load_domain("review")
    with pytest.raises(FspoError, match="there is no domain"):
        load_domain("../reviews")
