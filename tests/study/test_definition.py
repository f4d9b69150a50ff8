"""A study's file: what is accepted, and how what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from fspo.errors import FspoError
from fspo.preferences.records import Preference, Preferences
from fspo.preferences.writing import save_preferences
from fspo.study.preview import preview
from fspo.study.reading import read_study
from fspo.study.wording import WORDS, languages


@pytest.fixture
def read(tmp_path, definition):
    def reader(**changes: Any):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(definition | changes, sort_keys=False), "utf-8")
        return read_study(path)

    return reader


def test_the_example_says_what_the_paper_asked(read):
    study, pools = read()
    assert (study.label_pairs, study.judge_questions) == (8, 11)
    assert len(pools["en"].pairs) == 10
    assert len(pools["en"].questions) == 14


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"titel": "x"}, "unknown key 'titel'"),
        ({"label_pair": 3}, "did you mean 'label_pairs'"),
        ({"label_pairs": 11}, "languages.en.pairs: there are pairs about 10"),
        ({"judge_questions": 15}, "languages.en.questions: there are 14"),
        ({"comparisons": [["personal", "SFT"]]}, "there is no method 'SFT'"),
        ({"comparisons": [["base", "base"]]}, "compared with itself"),
        ({"comparisons": [["personal", "base"], ["base", "personal"]]}, "compared twice"),
        ({"limits": {"min_seconds": 9, "max_seconds": 3}}, "min_seconds has to be below"),
        ({"completion": {"redirect": "http://a.example"}}, "has to begin with https://"),
        ({"completion": {"redirect": "javascript:alert(1)"}}, "has to begin with https://"),
        ({"name": "<script>"}, "name: string should match"),
        ({"seed": -1}, "seed: input should be greater"),
        ({"methods": {"<b>": {"answers": "plain"}, "c": {"answers": "plain"}}}, "methods.<b>"),
    ],
)
def test_faults_are_named(read, changes, told):
    with pytest.raises(FspoError) as caught:
        read(**changes)
    assert told in str(caught.value)
    assert "study.yaml" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pairs": []}, "give either `pairs` or `pairs_from`"),
        ({"questions_from": "more.txt"}, "give either `questions` or `questions_from`"),
        ({"words": {"go_onn": "Weiter"}}, "unknown word 'go_onn'; did you mean 'go_on'?"),
        ({"consent": "  "}, "languages.en.consent: string should have at least 1"),
        ({"asks": [{"name": "a", "question": "b"}] * 2}, "asks: two of them have the same name"),
        ({"practice": [{"question": "Q", "answers": ["a", "a "]}]}, "answers to 'Q' are the same"),
        ({"checks": [{"stage": "labels"}]}, "languages.en.checks.0.stage"),
    ],
)
def test_faults_in_a_language_are_named(read, definition, changes, told):
    with pytest.raises(FspoError) as caught:
        read(languages={"en": definition["languages"]["en"] | changes})
    assert told in str(caught.value)


def test_languages_ask_the_same(read, definition):
    english = definition["languages"]["en"]
    with pytest.raises(FspoError, match=r"languages\.de\.asks"):
        read(languages={"en": english, "de": english | {"asks": []}})
    with pytest.raises(FspoError, match=r"languages\.de\.checks"):
        read(languages={"en": english, "de": english | {"checks": []}})


def test_buttons_speak_the_languages_that_we_have(read, definition):
    english = definition["languages"]["en"]
    own = {"go_on": "Los!"}
    more = {"de-AT": english | {"words": own}, "da": english | {"words": own}}
    study, pools = read(languages={"en": english} | more)
    assert study.wording("en")["finish"] == "Finish"
    assert (study.wording("de-AT")["go_on"], study.wording("de-AT")["finish"]) == (
        "Los!",
        "Abschließen",
    )
    assert (study.wording("da")["go_on"], study.wording("da")["finish"]) == ("Los!", "Finish")
    unseen = {code: list(preview(study, pools[code], code))[-1] for code in study.languages}
    assert "still in English (da.words): agree, " in unseen["da"]
    assert "go_on" not in unseen["da"].split("still in English")[1]
    assert "still in English" not in unseen["en"] + unseen["de-AT"]


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_word(language):
    own, english = (
        yaml.safe_load((WORDS / f"{code}.yaml").read_text(encoding="utf-8"))
        for code in (language, "en")
    )
    assert list(own) == list(english)
    assert all(isinstance(text, str) and text.strip() == text for text in own.values())


def test_pairs_and_questions_can_stand_beside_the_file(read, definition, tmp_path):
    by_user = {
        "ann": [Preference(f"q{n}", "yes", f"no {n}") for n in range(5)],
        "bob": [Preference(f"q{n}", f"no {n}", "yes") for n in range(3, 9)],
    }
    save_preferences(Preferences(by_user), tmp_path / "mine", "card")
    (tmp_path / "questions.txt").write_text("\n".join(f"  why {n}\n" for n in range(12)), "utf-8")
    english = definition["languages"]["en"]
    for name in ("pairs", "questions"):
        english.pop(name)
    english |= {"pairs_from": "mine", "questions_from": "questions.txt"}
    _, pools = read()
    assert len({p.prompt for p in pools["en"].pairs}) == 9
    assert pools["en"].questions == [f"why {n}" for n in range(12)]
    # With a mark before it, as some editors write it, and an end of line inside a question.
    text = "Why \u2028 so?\r\nwhy 1\r\n why  1\r\n" + "".join(f"why {n}\n" for n in range(12))
    (tmp_path / "questions.txt").write_text(text, "utf-8-sig", newline="")
    assert read()[1]["en"].questions == ["Why \u2028 so?", "why 1", "why 0"] + [
        f"why {n}" for n in range(2, 12)
    ]
    english["questions_from"] = "none.txt"
    with pytest.raises(FspoError, match=r"languages\.en\.questions_from: .*none\.txt"):
        read()


def test_a_study_that_began_keeps_its_rules_and_may_mend_its_words(start, definition, walk_in):
    running = start(definition)
    where = running.where
    definition["seed"] = 7
    running = start(definition, where)  # nobody has begun yet
    walk_in(running).begin()
    definition["contact"] = "someone else"
    assert "someone else" in start(definition, where).client().get("/").text
    definition["seed"] = 8
    with pytest.raises(FspoError, match="1 people have begun with another definition"):
        start(definition, where)
