"""Turns a run's results into one HTML page that anybody can read: `report(folder)`.

The page is made of `results.json` and, if it is there, `training_log.json`; what these leave out is
left out of the page. Texts of users and models are data: they are escaped, and the page allows
neither scripts nor anything from outside. The numbers are said in sentences that are computed from
them, also where a method loses. Nothing is measured here.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

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
from fspo.evaluation.findings import (
    ends,
    findings,
    finite,
    headline,
    interval_text,
    own_methods,
    percent,
    words,
)
from fspo.evaluation.results import Accuracy, Interval, LogRow, Results, WinRate
from fspo.files import write_text
from fspo.learning.objectives import OBJECTIVES

T = TypeVar("T")
# Control signs, what overrides the direction of reading, and what UTF-8 cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_KEY_FIGURES = 4
_MEASURES = {"loss": "Loss", "accuracy": "Pairs ranked right", "margin": "Margin"}
_STAGES = {
    name: objective.stage or f"preference optimization ({objective.title})"
    for name, objective in OBJECTIVES.items()
}


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
    except (OSError, ValueError, RecursionError) as error:
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
        ours=own_methods(results),
        headline=headline(results),
        figures=_figures(results),
        findings=findings(results),
        charts=_charts(results),
        training=list(_training_charts(log)),
        tables=_tables(results),
    )


def _harmless(value: object) -> object:
    """Returns the page's data, with a mark for each sign that could disturb the text around it."""
    if isinstance(value, str) and _UNPRINTABLE.search(value):
        return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _figures(results: Results) -> list[tuple[str, str, str, bool]]:
    """The key figures, ours first: number, what it is, what to know about it, whether ours."""
    figures = []
    accuracy = finite(results.preference_accuracy.by_shots)
    if accuracy:
        most, fewest = max(accuracy), min(accuracy)
        name = f"accuracy with {most} choices"
        note = f"{percent(100 * accuracy[fewest], 1)} with {fewest or 'none'}"
        figures.append((percent(100 * accuracy[most], 1), name, note, True))
    ours = own_methods(results)
    for method in sorted(results.methods, key=lambda name: name not in ours):
        measured = results.methods[method]
        if method != "base" and math.isfinite(measured.winrate):
            note = interval_text(measured.ci95).strip(" ()")
            rate = percent(measured.winrate, 1)
            figures.append((rate, f"win rate: {method}", note, method in ours))
    return figures[:_KEY_FIGURES]


def _charts(results: Results) -> dict[str, Chart]:
    """The charts of what was measured, by name; one that would be empty is left out."""
    accuracy, methods, ours = results.preference_accuracy, results.methods, own_methods(results)
    shots = [
        Point(str(shot), 100 * value, _percentages(accuracy.ci95.get(shot)))
        for shot, value in finite(accuracy.by_shots).items()
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
    seen = sorted({shot for p in results.predictions.values() for shot in p.by_shots})
    groups = sorted({group for method in methods.values() for group in method.by_group})
    shots = sorted({shot for values in accuracy.by_group.values() for shot in values})
    tables = [
        Table(
            "All methods",
            (
                "Method",
                "Win rate",
                "95% interval",
                "Length-controlled",
                "Comparisons",
                "Words",
                "Repeated",
            ),
            [
                (
                    name,
                    percent(m.winrate, 1),
                    ends(m.ci95),
                    percent(m.length_controlled, 1),
                    str(m.n),
                    words(m.mean_length),
                    percent(m.repetition, 1),
                )
                for name, m in methods.items()
            ],
        ),
        Table(
            "Preference accuracy by method",
            ("Method", *(f"{shot} seen" for shot in seen), "Gain", "95% interval"),
            [
                (name, *_row(p.by_shots, seen), *_gain(p, seen))
                for name, p in results.predictions.items()
            ],
        ),
        Table(
            "Nearness of written descriptions to the true ones (cosine)",
            ("Method", "After training", "Before preferences", "To other users'"),
            [
                (name, *(_cosine(value) for value in (d.mean, d.before, d.chance)))
                for name, d in results.descriptions.items()
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
            [(group, *_row(values, shots)) for group, values in sorted(accuracy.by_group.items())],
        ),
    ]
    return [table for table in tables if table.rows]


def _row(values: Mapping[int, float], shots: Sequence[int]) -> list[str]:
    return [percent(100 * values.get(shot, math.nan), 1) for shot in shots]


def _cosine(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _gain(prediction: Accuracy, shots: Sequence[int]) -> tuple[str, str]:
    """Returns what all shots add to none, in points, and its interval."""
    gain = prediction.gain.get(max(shots, default=0))
    if gain is None or math.isnan(gain.mean):
        return "–", "–"
    return f"{100 * gain.mean:+.1f}", ends(_percentages(gain.ci95))


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
