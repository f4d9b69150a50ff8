import copy
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fspo.errors import FspoError
from fspo.evaluation.report import report, write_report

HOSTILE = (
    "<script>alert(1)</script>]]></svg></div>{{7*7}}{% raw %}\" onload='x' -->"
    "\N{RIGHT-TO-LEFT OVERRIDE}$\\frac{1}$ http://example.org/x.js \ud800\x00\n# Task\N{SNOWMAN}"
)
VOID = {"meta", "br", "link", "img", "input"}

REQUIRED: dict[str, Any] = {
    "judge": "a measured judge",
    "methods": {
        "base": {"winrate": 50.0, "ci95": [50.0, 50.0], "n": 120, "mean_length": 61.25},
        "FSPO": {"winrate": 71.3, "ci95": [64.8, 77.2], "n": 120, "mean_length": 48.0},
    },
    "preference_accuracy": {"by_shots": {"0": 0.502, "2": 0.81, "8": 0.934}, "n": 320},
    "users": {"train": 240, "test": 40},
    "model": "tiny-model",
    "seed": 7,
    "versions": {"torch": "2.9.0"},
    "seconds": {"train": 75.0},
}


def full() -> dict[str, Any]:
    results = copy.deepcopy(REQUIRED)
    methods = results["methods"]
    methods["few-shot prompted"] = {
        "winrate": 55.5,
        "ci95": [48.0, 62.5],
        "n": 120,
        "mean_length": 60.0,
    }
    methods["oracle"] = {"winrate": 80.1, "ci95": [74.4, 86.0], "n": 120, "mean_length": 52.5}
    methods["base"]["repetition"], methods["FSPO"]["repetition"] = 1.5, 12.84
    methods["FSPO"]["by_group"] = {
        "terse": {"winrate": 66.1, "ci95": [55.0, 75.0], "n": 60},
        "chatty": {"winrate": 76.5, "ci95": [66.0, 85.0], "n": 60},
    }
    accuracy = results["preference_accuracy"]
    accuracy["ci95"] = {"0": [0.44, 0.56], "2": [0.77, 0.85], "8": [0.9, 0.96]}
    accuracy["gain"] = {"8": {"mean": 0.432, "ci95": [0.371, 0.493]}}
    results["differences"] = {
        "base": {"difference": 21.3, "ci95": [14.8, 27.2]},
        "few-shot prompted": {"difference": 15.8, "ci95": [9.4, 22.1]},
        "oracle": {"difference": -8.8, "ci95": [-17.9, 0.6]},
    }
    accuracy["by_group"] = {"terse": {"0": 0.49, "2": 0.8, "8": 0.921}}
    results["descriptions"] = {"FSPO": {"mean": 0.8123, "before": 0.7, "chance": 0.512}}
    results["predictions"] = {
        "FSPO": {
            "by_shots": {"0": 0.5, "8": 0.921},
            "n": 240,
            "gain": {"8": {"mean": 0.421, "ci95": [0.36, 0.48]}},
        },
        "base": {"by_shots": {"0": 0.5}, "n": 240},
    }
    methods["oracle"]["length_controlled"] = 79.4
    results["warnings"] = [
        {"attribute": "education", "value": "primary", "users": 9, "winrate": 41.0, "others": 77.0}
    ]
    results["example"] = {
        "user_id": "user-9",
        "description": "Likes it short.",
        "shots": [{"prompt": "Jaws?", "chosen": "Fine.", "rejected": "A long story of a shark."}],
        "prompts": [
            {
                "prompt": "Alien?",
                "answers": {
                    "base": {"text": "In space.", "words": 2, "sentiment": 0.1, "utility": 0.2},
                    "FSPO": {"text": "Tense.", "words": 1, "sentiment": 0.0, "utility": 0.9},
                },
            }
        ],
    }
    return results


LOG = [
    {"step": 0, "loss": 3.0, "stage": "sft"},
    {"step": 1, "loss": 2.5, "stage": "sft"},
    {"step": 0, "loss": 2500.0, "margin": 0.0, "accuracy": 0.5, "stage": "ipo", "lr": 1e-6},
    {"step": 1, "loss": math.nan, "margin": 4.0, "stage": "ipo"},
    {"step": 2, "loss": 900.0, "margin": None, "accuracy": 0.75, "stage": "ipo"},
]


class Page(HTMLParser):
    """A parsed page: tags in order, tables by caption, each element's text; checks the nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data

    def text(self, *tags: str) -> str:
        return " ".join(" ".join(text for tag, text in self.texts if tag in tags).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def written(folder: Path, results: dict[str, Any], log: object = None) -> str:
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    if log is not None:
        (folder / "training_log.json").write_text(json.dumps(log), encoding="utf-8")
    return report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("run"), full(), LOG)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_tables_hold_the_numbers_of_the_results(page):
    results = full()
    header, *rows = page.tables["All methods"]
    columns = "Method|Win rate|95% interval|Length-controlled|Comparisons|Words|Repeated"
    assert header == columns.split("|")
    for (name, method), row in zip(results["methods"].items(), rows, strict=True):
        low, high = method["ci95"]
        assert row == [
            name,
            f"{method['winrate']:.1f}%",
            f"{low:.1f}% to {high:.1f}%",
            f"{method['length_controlled']:.1f}%" if "length_controlled" in method else "–",
            str(method["n"]),
            f"{method['mean_length']:.1f}",
            f"{method['repetition']:.1f}%" if "repetition" in method else "–",
        ]
    accuracy = results["preference_accuracy"]
    shown = page.tables["Preference accuracy by number of choices seen"][1:]
    assert [row[0] for row in shown] == list(accuracy["by_shots"])
    for shots, value, interval in shown:
        low, high = accuracy["ci95"][shots]
        assert value == f"{100 * accuracy['by_shots'][shots]:.1f}%"
        assert interval == f"{100 * low:.1f}% to {100 * high:.1f}%"
    rates = page.tables["Win rate against the base model"][1:]
    assert [row[:2] for row in rates] == [row[:2] for row in rows]
    assert page.tables["Win rates by kind of user"][1:] == [
        ["chatty", "–", "76.5%", "–", "–"],
        ["terse", "–", "66.1%", "–", "–"],
    ]
    assert page.tables["Preference accuracy by kind of user"][1:] == [
        ["terse", "49.0%", "80.0%", "92.1%"]
    ]
    assert page.tables["Preference accuracy by method"][1:] == [
        ["FSPO", "50.0%", "92.1%", "+42.1", "36.0% to 48.0%"],
        ["base", "50.0%", "–", "–", "–"],
    ]
    nearness = page.tables["Nearness of written descriptions to the true ones (cosine)"][1:]
    assert nearness == [["FSPO", "0.812", "0.700", "0.512"]]


def test_training_is_drawn_by_stage_and_without_what_was_not_logged(page):
    loss = page.tables["Loss, preference optimization (IPO)"][1:]
    assert [row[:2] for row in loss] == [["0", "2500"], ["2", "900"]]
    assert [row[:2] for row in page.tables["Loss, supervised fine-tuning"][1:]] == [
        ["0", "3"],
        ["1", "2.5"],
    ]
    accuracy = page.tables["Pairs ranked right, preference optimization (IPO)"][1:]
    assert [row[:2] for row in accuracy] == [["0", "50.0%"], ["2", "75.0%"]]
    assert "Margin, supervised fine-tuning" not in page.tables


def test_nothing_comes_from_outside_and_nothing_runs(html, page):
    namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "//" not in namespaces
    assert "@import" not in html
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src"):
                assert value
                assert value.startswith("#")
    assert "default-src 'none'" in html


def test_every_chart_has_a_name_and_a_table(page):
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    titles = [text for tag, text in page.texts if tag == "title"][1:]
    assert len(charts) == 3 + 4
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for chart, title in zip(charts, titles, strict=True):
        assert chart["role"] == "img"
        assert set((chart["aria-labelledby"] or "").split()) <= ids
        assert len(page.tables[title]) > 2
    assert page.count("desc") == len(charts)
    assert page.count("table") == page.count("caption")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


def test_ids_are_unique_and_every_reference_meets_one(html, page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    wanted += re.findall(r'aria-labelledby="(\S+)"', html)
    assert set(wanted) <= set(ids)


def test_headings_are_in_order_and_landmarks_are_there(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.count("header") == page.count("main") == page.count("footer") == 1
    assert ("html", {"lang": "en"}) in page.tags
    assert page.tags[[tag for tag, _ in page.tags].index("body") + 1][1]["href"] == "#results"


def test_findings_are_said_in_sentences(page):
    assert page.text("h1") == (
        "With 8 of a new user's choices, the model picks the answer that the user prefers in 93% "
        "of cases; with none, in 50%."
    )
    found = page.text("li")
    assert "in 71.3% of comparisons (95% interval 64.8% to 77.2%): it beats the base" in found
    assert "adds 43.2 percentage points to the model's accuracy (95% interval of the" in found
    assert "difference: 37.1 to 49.3 points). The judge" in found
    # Intervals that overlap say nothing of methods on the same prompts: that of their difference.
    prompted = "ahead of prompting the base model with the same choices (55.5%;"
    interval = "95% interval of the difference: 9.4 to 22.1 points)."
    assert f"FSPO is 15.8 points {prompted} {interval}" in found
    assert (
        "8.8 points behind the oracle, which is told the user's description (80.1%; 95% interval "
        "of the difference: \N{MINUS SIGN}17.9 to 0.6 points, so this may be chance)." in found
    )
    assert "least often for “terse” (66.1%) and most often for “chatty” (76.5%)" in found
    repeated = (
        "12.8% of an answer's runs of three words stood in it before, of the base model's 1.5%."
    )
    assert repeated in found
    assert "Where users are synthetic" in found


def test_a_method_that_loses_is_said_to_lose(tmp_path):
    results = full()
    results["methods"]["FSPO"] |= {"winrate": 41.0, "ci95": [35.0, 47.0]}
    results["preference_accuracy"] |= {"by_shots": {"0": 0.5, "8": 0.48}, "ci95": {}}
    found = Page(written(tmp_path, results)).text("li")
    assert "it loses to the base model" in found
    assert "14.5 points behind prompting" in found
    assert "did not help" in found
    assert "ahead" not in found


def test_an_interval_around_fifty_is_too_close_to_call(tmp_path):
    results = full()
    results["methods"]["FSPO"] |= {"winrate": 53.0, "ci95": [47.0, 59.0]}
    found = Page(written(tmp_path, results)).text("li")
    assert "too close to call" in found
    assert "2.5 points behind prompting" in found


@pytest.mark.parametrize(
    ("new", "said"),
    [("users", "others that it had never met"), ("prompts", "people whom it may have met, about"),
     ("neither", "people whom it may have met in training")],
)  # fmt: skip
def test_people_are_called_new_only_where_they_are(tmp_path, new, said):
    page = Page(written(tmp_path, full() | {"new": new}))
    assert said in page.text("p")
    assert ("new user" in page.text("h1", "h2")) == (new == "users")
    assert ("was not among those" in page.text("p", "bdi")) == (new == "users")


def test_the_page_is_about_the_first_policy_whatever_it_is_called(tmp_path):
    results = full()
    results["methods"]["Mine"] = results["methods"].pop("FSPO")
    found = Page(written(tmp_path, results)).text("li")
    assert "prefers the answers of Mine to the base model's" in found
    results["judge"] = "model: some-server"
    assert "is a language model that is told who the user is" in Page(
        written(tmp_path, results)
    ).text("li")


def test_the_answer_that_the_user_would_like_best_is_marked(html):
    assert html.count("★") == 1
    assert html.index("Tense.") < html.index("★")


def test_no_answer_is_marked_where_all_are_alike(tmp_path):
    results = full()
    for answer in results["example"]["prompts"][0]["answers"].values():
        answer["utility"] = 0.5
    assert "★" not in written(tmp_path, results)


def test_the_hidden_description_is_shown_as_hidden(page):
    assert "What the model never saw: who this user is" in page.text("p")
    assert "Likes it short." in page.text("div")


def with_suffix(value: object, suffix: str) -> Any:
    """`value` with `suffix` at the end of every string in it."""
    if isinstance(value, str):
        return value + suffix
    if isinstance(value, list):
        return [with_suffix(item, suffix) for item in value]
    if isinstance(value, dict):
        return {key: with_suffix(item, suffix) for key, item in value.items()}
    return value


def everything_with(suffix: str) -> dict[str, Any]:
    """Results in which every text and every key that is a name ends in `suffix`."""
    results = with_suffix(full(), suffix)
    for holder in (
        results["methods"]["FSPO"]["by_group"],
        results["methods"],
        results["preference_accuracy"]["by_group"],
        results["example"]["prompts"][0]["answers"],
        results["versions"],
        results["seconds"],
    ):
        for key in list(holder):
            holder[key + suffix] = holder.pop(key)
    return results


def test_hostile_text_stays_text(tmp_path):
    (tmp_path / "harmless").mkdir()
    harmless = written(tmp_path / "harmless", everything_with("x"), with_suffix(LOG, "x"))
    spoiled = written(tmp_path, everything_with(HOSTILE), with_suffix(LOG, HOSTILE))
    page, drawn = Page(spoiled), ("g", "path", "defs", "use")
    assert [tag for tag, _ in page.tags if tag not in drawn] == [
        tag for tag, _ in Page(harmless).tags if tag not in drawn
    ]
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
    assert "{{7*7}}" in spoiled
    assert "]]>" not in spoiled
    shown = page.text("div", "bdi", "p", "h3")
    for field in ("Likes it short.", "user-9", "Jaws?", "Fine.", "A long story", "Alien?", "Tense"):
        assert re.search(re.escape(field) + r"[^<]*<script>alert\(1\)</script>", shown), field
    assert not set("\N{RIGHT-TO-LEFT OVERRIDE}\x00") & set(spoiled)


def test_the_same_results_give_the_same_bytes(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert written(tmp_path / "one", full(), LOG) == written(tmp_path / "two", full(), LOG)


def test_only_the_required_keys(tmp_path):
    page = Page(written(tmp_path, {**REQUIRED, "seconds": 12.5}))
    assert page.count("svg") == 3
    text = page.text("h2", "h3", "p")
    assert "Training" not in text
    assert "One new user" not in text
    assert "Time: 12.5 s." in page.text("p")


def test_what_could_not_be_measured_is_left_out(tmp_path):
    results = full()
    results["methods"]["oracle"] |= {"winrate": None, "ci95": None}
    results["methods"]["FSPO"]["ci95"] = [math.nan, math.nan]
    results["preference_accuracy"]["by_shots"]["2"] = math.nan
    page = Page(written(tmp_path, results))
    assert ["oracle", "–", "–", "79.4%", "120", "52.5", "–"] in page.tables["All methods"]
    assert ["FSPO", "71.3%", "–", "–", "120", "48.0", "12.8%"] in page.tables["All methods"]
    assert len(page.tables["Preference accuracy by number of choices seen"]) == 1 + 2
    assert "nan" not in page.text("text", "td", "li", "dd")
    assert "how sure that is was not measured" in page.text("li")


def test_results_of_earlier_versions_are_rendered_alike(tmp_path):
    results = full()
    page = written(tmp_path, results)
    for method in results["methods"].values():
        method["lean"] = 0.02  # what position_bias was called
    assert written(tmp_path, results) == page


def test_nearly_all_is_not_called_all(tmp_path):
    results = {**REQUIRED, "preference_accuracy": {"by_shots": {"0": 0.5, "8": 0.998}, "n": 9}}
    assert "in 99.8% of cases" in Page(written(tmp_path, results)).text("h1")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(tmp_path, key):
    results = {name: value for name, value in REQUIRED.items() if name != key}
    with pytest.raises(FspoError, match=rf"results\.json: {key}: Field required"):
        written(tmp_path, results)


def test_a_wrong_value_is_named_with_its_path(tmp_path):
    results = copy.deepcopy(REQUIRED)
    results["methods"]["FSPO"]["winrate"] = "high"
    with pytest.raises(FspoError, match=r"results\.json: methods\.FSPO\.winrate: "):
        write_report(results, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_there_or_not_json_are_named(tmp_path):
    with pytest.raises(FspoError, match=r"results\.json: there is no such file"):
        report(tmp_path)
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(FspoError, match=r"results\.json: cannot be read as JSON"):
        report(tmp_path)
    with pytest.raises(FspoError, match=r"training_log\.json: 1\.loss: "):
        written(tmp_path, REQUIRED, [{"loss": 1.0}, {"loss": "low"}])


def test_importing_the_report_leaves_matplotlib_alone():
    code = "import sys, fspo.evaluation.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_leaves_the_callers_matplotlib_settings_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_report(REQUIRED, tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_a_group_that_is_served_worse_is_told(html):
    found = Page(html).text("li")
    assert "Users whose education is “primary” (9 of them) are served worse" in found


def test_without_a_judge_the_page_says_that_nothing_was_judged(tmp_path):
    results = copy.deepcopy(REQUIRED) | {"judge": "none", "methods": {}}
    found = Page(write_report(results, tmp_path).read_text(encoding="utf-8")).text(
        "li", "h2", "summary"
    )
    assert "Nothing was written and nothing was judged" in found
    assert "Win rate" not in found
