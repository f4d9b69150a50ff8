"""Turns a run's results into one HTML page that anybody can read: `report(folder)`.

The page is made of `results.json` and, if it is there, `training_log.json`; what these leave out is
left out of the page. Texts of users and models are data: they are escaped, and the page allows
neither scripts nor anything from outside. The numbers are said in sentences that are computed from
them, also where a method loses. Nothing is measured here.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from fspo.errors import FspoError
from fspo.evaluation.charts import (
    Chart,
    Point,
    Table,
    accuracy_chart,
    curve_chart,
    length_chart,
    win_rate_chart,
)
from fspo.files import write_text

T = TypeVar("T")
# Control signs, what overrides the direction of reading, and what UTF-8 cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_KEY_FIGURES = 4
_MEASURES = {"loss": "Loss", "accuracy": "Pairs ranked right", "margin": "Margin"}
_STAGES = {"sft": "supervised fine-tuning", "ipo": "preference optimization"}


def _known(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval if interval and all(map(math.isfinite, interval)) else None


# Results may hold null or NaN where something could not be measured: nan and None from here on.
Measured = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Interval = Annotated[tuple[float, float] | None, AfterValidator(_known)]


class WinRate(BaseModel):
    """How often one method's answers were preferred to the base model's, in percent."""

    winrate: Measured
    ci95: Interval = None
    n: int | None = None


class Method(WinRate):
    """What was measured of one method; `mean_length` is in words."""

    ci95: Interval
    n: int
    mean_length: Measured
    by_group: dict[str, WinRate] = {}


class Accuracy(BaseModel):
    """How often the implicit reward ranks a pair as its user does, from 0 to 1, by shots seen."""

    by_shots: dict[int, Measured]
    n: int
    ci95: dict[int, Interval] = {}
    by_group: dict[str, dict[int, Measured]] = {}


class Users(BaseModel):
    """How many users the model learned from, and how many it was tried on."""

    train: int
    test: int


class Shot(BaseModel):
    """One choice of the example's user."""

    prompt: str = ""
    chosen: str
    rejected: str


class Answer(BaseModel):
    """One method's answer in the example, and what the judge makes of it."""

    text: str
    words: int | None = None
    sentiment: float | None = None
    utility: float | None = None

    @property
    def facts(self) -> list[str]:
        """What was measured of the answer, in words."""
        return [
            *([f"{self.words} words"] if self.words is not None else []),
            *([f"sentiment {self.sentiment:+.2f}"] if self.sentiment is not None else []),
            *([f"judge's score {self.utility:.2f}"] if self.utility is not None else []),
        ]


class Question(BaseModel):
    """A prompt of the example with each method's answer."""

    prompt: str
    answers: dict[str, Answer]

    def liked_best(self, method: str) -> bool:
        """Whether the user would like no other answer better; never if all are alike."""
        known = [a.utility for a in self.answers.values() if a.utility is not None]
        return len(set(known)) > 1 and self.answers[method].utility == max(known)


class Example(BaseModel):
    """One new user: the shots, the hidden description, and what the methods answer."""

    user_id: str = ""
    description: str = ""
    shots: list[Shot] = []
    prompts: list[Question] = []


class Results(BaseModel):
    """The contents of `results.json`; keys that are not named here are ignored."""

    judge: str
    methods: dict[str, Method]
    preference_accuracy: Accuracy
    users: Users
    model: str
    seed: int
    versions: dict[str, str]
    seconds: dict[str, float] | float
    example: Example | None = None
    title: str = ""


class LogRow(BaseModel):
    """One step of training; whatever was not logged is nan."""

    step: int | None = None
    stage: str = ""
    loss: Measured = Field(default=math.nan)
    margin: Measured = Field(default=math.nan)
    accuracy: Measured = Field(default=math.nan)


def report(folder: Path) -> Path:
    """Writes `folder/report.html` from `folder/results.json`, and says where it is.

    Raises:
        FspoError: if the results are missing or malformed; the message names the file and the key.
    """
    return write_report(_read_json(folder / "results.json", "Run the evaluation first."), folder)


def write_report(results: Mapping[str, Any], folder: Path) -> Path:
    """Writes `folder/report.html` from `results` and, if it is there, `training_log.json`.

    Raises:
        FspoError: if a key is missing or malformed, or the folder cannot be written.
    """
    checked = _checked(TypeAdapter(Results), results, folder / "results.json")
    log_file = folder / "training_log.json"
    log = _read_json(log_file, "") if log_file.exists() else []
    html = _page(checked, _checked(TypeAdapter(list[LogRow]), log, log_file))
    path = folder / "report.html"
    write_text(path, html)
    return path


def _read_json(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FspoError(f"{path}: there is no such file. {remedy}") from error
    except (OSError, ValueError) as error:
        raise FspoError(f"{path}: cannot be read as JSON ({error}). Write it again.") from error


def _checked(adapter: TypeAdapter[T], value: object, path: Path) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        raise FspoError(f"{path}: {key}: {first['msg']}. Put it right, or run again.") from error


def _page(results: Results, log: list[LogRow]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = _duration
    template = (files("fspo.evaluation") / "report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        results=results,
        headline=headline(results),
        figures=_figures(results),
        findings=findings(results),
        charts=_charts(results),
        training=list(_training_charts(log)),
        tables=_tables(results),
    )


def _harmless(value: object) -> object:
    """What goes into the page, with a mark for each sign that could disturb the text around it."""
    if isinstance(value, str) and _UNPRINTABLE.search(value):
        return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


def headline(results: Results) -> str:
    """The finding that comes first: what the shots tell the model about a new user."""
    accuracy = _finite(results.preference_accuracy.by_shots)
    if not accuracy:
        return f"What {results.model} learned from a few choices of each user"
    fewest, most = min(accuracy), max(accuracy)
    before, after = (percent(100 * accuracy[shots]) for shots in (fewest, most))
    picks = f"the model picks the answer that the user prefers in {after} of cases"
    if fewest == most:
        return f"With {most or 'none'} of a new user's choices, {picks}."
    return f"With {most} of a new user's choices, {picks}; with {fewest or 'none'}, in {before}."


def findings(results: Results) -> list[str]:
    """What the numbers say, a sentence each."""
    sentences = list(_accuracy_findings(results.preference_accuracy))
    for name in _ours(results):
        sentences += _win_findings(name, results)
    return sentences


def _accuracy_findings(accuracy: Accuracy) -> Iterator[str]:
    values = _finite(accuracy.by_shots)
    if len(values) < 2:
        return
    fewest, most = min(values), max(values)
    gain = _points(100 * values[most], 100 * values[fewest])
    if gain <= 0:
        yield (
            f"Choices of the user did not help: with {most} of them the model is no better at "
            f"telling what the user prefers than with {fewest or 'none'}."
        )
        return
    doubt = _doubt(accuracy.ci95.get(most), accuracy.ci95.get(fewest))
    yield (
        f"Seeing {most} of the user's choices instead of {fewest or 'none'} adds {gain:.1f} "
        f"percentage points to the model's accuracy{doubt}."
    )


def _win_findings(name: str, results: Results) -> Iterator[str]:
    ours = results.methods[name]
    if math.isnan(ours.winrate):
        return
    yield (
        f"The judge prefers the answers of {name} to the base model's in "
        f"{percent(ours.winrate, 1)} of comparisons{_interval(ours.ci95)}: {_verdict(ours)}."
    )
    for other_name, what in (
        ("few-shot prompted", "prompting the base model with the same choices"),
        ("oracle", "the oracle, which is told the user's description"),
    ):
        other = results.methods.get(other_name)
        if other and not math.isnan(other.winrate):
            yield (
                f"{name} {_compared(ours.winrate, other.winrate)} {what} "
                f"({percent(other.winrate, 1)}){_doubt(ours.ci95, other.ci95)}."
            )
    groups = {g: m.winrate for g, m in ours.by_group.items() if not math.isnan(m.winrate)}
    if len(groups) > 1:
        worst, best = min(groups, key=groups.__getitem__), max(groups, key=groups.__getitem__)
        yield (
            f"By kind of user, {name} wins least often for “{worst}” "
            f"({percent(groups[worst], 1)}) and most often for “{best}” "
            f"({percent(groups[best], 1)})."
        )
    base = results.methods.get("base")
    if base and ours.mean_length > 0 and base.mean_length > 0:
        yield (
            f"Its answers have {ours.mean_length:.0f} words on average, "
            f"the base model's {base.mean_length:.0f}."
        )


def _verdict(method: WinRate) -> str:
    if method.ci95 is None:
        return "how sure that is was not measured"
    if method.ci95[0] > 50:
        return "it beats the base model"
    if method.ci95[1] < 50:
        return "it loses to the base model"
    return "too close to call, as 50% lies within the interval"


def _compared(ours: float, other: float) -> str:
    difference = _points(ours, other)
    if difference == 0:
        return "wins just as often as"
    return f"is {abs(difference):.1f} points {'ahead of' if difference > 0 else 'behind'}"


def _points(one: float, other: float) -> float:
    """The difference of two figures as they are printed, so that a reader can check it."""
    return round(round(one, 1) - round(other, 1), 1)


def _doubt(one: Interval, other: Interval) -> str:
    if one is None or other is None or one[0] > other[1] or other[0] > one[1]:
        return ""
    return "; the two intervals overlap, so this may be chance"


def _ends(interval: Interval) -> str:
    return f"{interval[0]:.1f}% to {interval[1]:.1f}%" if interval else "–"


def _words(length: float) -> str:
    return "–" if math.isnan(length) else f"{length:.1f}"


def _interval(interval: Interval) -> str:
    if interval is None:
        return ""
    return f" (95% interval {_ends(interval)})"


def percent(value: float, digits: int = 0) -> str:
    """`value` as a percentage; "–" for nan, and never rounded to all or nothing."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    if digits == 0 and 0 < value < 100 and text in ("0", "100"):
        text = f"{value:.1f}"
    return f"{text}%"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _ours(results: Results) -> list[str]:
    return [name for name in results.methods if name.startswith("FSPO")]


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {key: value for key, value in sorted(values.items()) if math.isfinite(value)}


def _figures(results: Results) -> list[tuple[str, str, str, bool]]:
    """The key figures, ours first: number, what it is, what to know about it, whether ours."""
    figures = []
    accuracy = _finite(results.preference_accuracy.by_shots)
    if accuracy:
        most, fewest = max(accuracy), min(accuracy)
        name = f"accuracy with {most} choices"
        note = f"{percent(100 * accuracy[fewest], 1)} with {fewest or 'none'}"
        figures.append((percent(100 * accuracy[most], 1), name, note, True))
    ours = _ours(results)
    for method in sorted(results.methods, key=lambda name: name not in ours):
        measured = results.methods[method]
        if method != "base" and math.isfinite(measured.winrate):
            note = _interval(measured.ci95).strip(" ()")
            rate = percent(measured.winrate, 1)
            figures.append((rate, f"win rate: {method}", note, method in ours))
    return figures[:_KEY_FIGURES]


def _charts(results: Results) -> dict[str, Chart]:
    """The charts of what was measured, by name; one that would be empty is left out."""
    accuracy, methods, ours = results.preference_accuracy, results.methods, _ours(results)
    shots = [
        Point(str(shot), 100 * value, _percentages(accuracy.ci95.get(shot)))
        for shot, value in _finite(accuracy.by_shots).items()
    ]
    rates = [Point(name, m.winrate, m.ci95, name in ours) for name, m in methods.items()]
    lengths = [Point(name, m.mean_length, None, name in ours) for name, m in methods.items()]
    drawn = (
        (accuracy_chart, shots, "Preference accuracy by number of choices seen"),
        (win_rate_chart, rates, "Win rate against the base model"),
        (length_chart, lengths, "Mean length of an answer"),
    )
    charts = {}
    for draw, points, title in drawn:
        known = [point for point in points if math.isfinite(point.value)]
        if known:
            chart = draw(known, title)
            charts[chart.name] = chart
    return charts


def _tables(results: Results) -> list[Table]:
    """All that was measured of methods and of kinds of users."""
    methods, accuracy = results.methods, results.preference_accuracy
    unknown = WinRate(winrate=math.nan)
    groups = sorted({group for method in methods.values() for group in method.by_group})
    shots = sorted({shot for values in accuracy.by_group.values() for shot in values})
    tables = [
        Table(
            "All methods",
            ("Method", "Win rate", "95% interval", "Comparisons", "Words"),
            [
                (name, percent(m.winrate, 1), _ends(m.ci95), str(m.n), _words(m.mean_length))
                for name, m in methods.items()
            ],
        ),
        Table(
            "Win rates by kind of user",
            ("Kind of user", *methods),
            [
                (g, *(percent(m.by_group.get(g, unknown).winrate, 1) for m in methods.values()))
                for g in groups
            ],
        ),
        Table(
            "Preference accuracy by kind of user",
            ("Kind of user", *(f"{shot} seen" for shot in shots)),
            [
                (group, *(percent(100 * values.get(shot, math.nan), 1) for shot in shots))
                for group, values in sorted(accuracy.by_group.items())
            ],
        ),
    ]
    return [table for table in tables if table.rows]


def _percentages(interval: Interval) -> Interval:
    return (100 * interval[0], 100 * interval[1]) if interval else None


def _training_charts(log: list[LogRow]) -> Iterator[Chart]:
    """Each stage's curves in the order of training; a measure that was not logged is left out."""
    for number, stage in enumerate(dict.fromkeys(row.stage for row in log)):
        rows = [row for row in log if row.stage == stage]
        for key in ("loss", "accuracy", "margin"):
            scale = 100 if key == "accuracy" else 1
            points = [
                (index if row.step is None else row.step, scale * getattr(row, key))
                for index, row in enumerate(rows)
                if math.isfinite(getattr(row, key))
            ]
            if len(points) > 1:
                steps, values = zip(*points, strict=True)
                title = f"{_MEASURES[key]}{', ' if stage else ''}{_STAGES.get(stage, stage)}"
                yield curve_chart(f"training-{number}-{key}", title, steps, values, scale == 100)
