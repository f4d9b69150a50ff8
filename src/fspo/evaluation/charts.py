"""The report's charts: SVG to stand inside an HTML page, each with the table that it draws.

A chart takes its colors from the page's style sheet, so that it follows light, dark and print, and
its text stays text, in the page's font. Drawing the same values twice gives the same bytes. The
functions know nothing about results files or pages.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

# Matplotlib draws with these stand-ins; the page's style sheet says what they look like.
_INK, _MUTED, _ACCENT, _GRID, _PAPER = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _ACCENT: "var(--accent)",
    _GRID: "var(--line)",
    _PAPER: "var(--paper)",
}
# Drawn narrow, so that the text is legible when a phone shows the whole width.
_WIDTH, _HEIGHT = 360, 240
_ROW_HEIGHT, _ROWS_MARGIN = 46, 56
_TABLE_ROWS = 12
_LABEL_LENGTH = 20


@dataclass(frozen=True)
class Point:
    """One value to draw: what it belongs to, its 95% interval if known, whether to stress it."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    stressed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A drawing and the same numbers as a table, whose caption is the chart's title."""

    name: str
    svg: str
    table: Table


def accuracy_chart(points: Sequence[Point], title: str) -> Chart:
    """Preference accuracy in percent against the number of shots (the points' labels)."""
    shots = [int(point.label) for point in points]
    values = [point.value for point in points]
    ends = [point.interval or (point.value, point.value) for point in points]

    def draw(axes: Any) -> None:
        lows, highs = [low for low, _ in ends], [high for _, high in ends]
        axes.fill_between(shots, lows, highs, color=_ACCENT, alpha=0.16, linewidth=0)
        axes.axhline(50, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(shots, values, color=_ACCENT, linewidth=2, marker="o", markersize=5)
        axes.set_xticks(shots)
        axes.set_xlabel("choices of the user that the model has seen")
        axes.set_ylim(min(40.0, _floor_to_ten(lows)), 103)
        axes.yaxis.set_major_formatter("{x:.0f}%")
        axes.annotate(
            "by chance", (1, 50), (0, 4), ha="right", color=_MUTED, **_within_axes_width(axes)
        )
        for index, below in {0: values[-1] > values[0], -1: values[-1] < values[0]}.items():
            axes.annotate(
                f"{values[index]:.0f}%",
                (shots[index], values[index]),
                (0, -12 if below else 12),
                ha="center",
                va="top" if below else "bottom",
                fontweight="bold",
                **_OFFSET,
            )

    return _chart("accuracy", title, draw, "Choices seen", points, "{:.1f}%")


def win_rate_chart(points: Sequence[Point], title: str) -> Chart:
    """Win rates against the base model in percent, one row a method, with the line at 50."""

    def draw(axes: Any) -> None:
        axes.axvline(50, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for row, point in enumerate(points):
            color = _ACCENT if point.stressed else _INK
            if point.interval:
                axes.plot(point.interval, (row, row), color=color, linewidth=2, alpha=0.55)
            axes.plot(point.value, row, "o", color=color, markersize=7)
        _rows(axes, points, "{:.1f}%")
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_formatter("{x:.0f}%")
        axes.set_xlabel("of comparisons won against the base model")

    return _chart("winrates", title, draw, "Method", points, "{:.1f}%", len(points))


def length_chart(points: Sequence[Point], title: str) -> Chart:
    """Mean lengths of answers in words, one bar a method."""

    def draw(axes: Any) -> None:
        for row, point in enumerate(points):
            color = _ACCENT if point.stressed else _MUTED
            axes.barh(row, point.value, height=0.42, color=color, linewidth=0)
        _rows(axes, points, "{:.1f}")
        axes.set_xlim(0, max(point.value for point in points) * 1.04 or 1)
        axes.set_xlabel("words in an answer, on average")

    return _chart("lengths", title, draw, "Method", points, "{:.1f} words", len(points))


def curve_chart(
    name: str, title: str, steps: Sequence[float], values: Sequence[float], percent: bool = False
) -> Chart:
    """A measure of training by step: every step faintly, and the mean of the steps around it."""
    smooth = _running_mean(values)

    def draw(axes: Any) -> None:
        axes.plot(steps, values, color=_MUTED, linewidth=1, alpha=0.45)
        axes.plot(steps, smooth, color=_ACCENT, linewidth=2)
        axes.set_xlabel("training step")
        if percent:
            axes.set_ylim(0, 103)
            axes.yaxis.set_major_formatter("{x:.0f}%")

    unit = "{:.1f}%" if percent else "{:.4g}"
    kept = _spread(len(steps), _TABLE_ROWS)
    rows = [(f"{steps[i]:g}", unit.format(values[i]), unit.format(smooth[i])) for i in kept]
    described = f"From {rows[0][2]} at step {rows[0][0]} to {rows[-1][2]} at step {rows[-1][0]}."
    svg = _svg(name, title, described, draw, _HEIGHT)
    return Chart(name, svg, Table(title, ("Step", "Value", "Mean around it"), rows))


_OFFSET = {"textcoords": "offset points"}


def _within_axes_width(axes: Any) -> dict[str, Any]:
    return {"xycoords": axes.get_yaxis_transform(), **_OFFSET}


def _chart(
    name: str,
    title: str,
    draw: Callable[[Any], None],
    heading: str,
    points: Sequence[Point],
    unit: str,
    methods: int = 0,
) -> Chart:
    """Draws, and puts the points in a table with a column for the intervals if there are any."""
    values = [(point.label, unit.format(point.value)) for point in points]
    described = "; ".join(f"{label}: {value}" for label, value in values) + "."
    table = Table(title, (heading, "Value"), values)
    if any(point.interval for point in points):
        rows = [(*v, _interval(p.interval, unit)) for v, p in zip(values, points, strict=True)]
        table = Table(title, (heading, "Value", "95% interval"), rows)
    height = _ROWS_MARGIN + _ROW_HEIGHT * methods if methods else _HEIGHT
    return Chart(name, _svg(name, title, described, draw, height), table)


def _interval(interval: tuple[float, float] | None, unit: str) -> str:
    return " to ".join(unit.format(end) for end in interval) if interval else "–"


def _rows(axes: Any, points: Sequence[Point], unit: str) -> None:
    """Names each row on the left and gives its value on the right."""
    axes.set_ylim(len(points) - 0.5, -0.5)
    axes.set_yticks(range(len(points)), [_short(point.label) for point in points])
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    for row, point in enumerate(points):
        axes.annotate(
            unit.format(point.value),
            (1, row),
            (6, 0),
            va="center_baseline",
            color=_ACCENT if point.stressed else _INK,
            fontweight="bold" if point.stressed else "normal",
            **_within_axes_width(axes),
        )


def _svg(name: str, title: str, described: str, draw: Callable[[Any], None], height: int) -> str:
    """One chart as an accessible `<svg>` element without anything that points out of the page."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _for_a_page(buffer.getvalue(), name, title, described)


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import style

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fspo",
        "text.parse_math": False,  # a dollar sign in a method's name is a dollar sign
        "font.size": 12,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _MUTED,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.unicode_minus": True,
        "grid.color": _GRID,
        "grid.linewidth": 1,
        "lines.solid_capstyle": "round",
        "text.color": _INK,
        "xtick.color": _GRID,
        "xtick.labelcolor": _MUTED,
        "ytick.color": _GRID,
        "ytick.labelcolor": _INK,
        "ytick.left": False,
    }
    with style.context(["default", settings]), warnings.catch_warnings():
        # A sign that matplotlib's own font lacks is drawn by the page's fonts all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _for_a_page(svg: str, name: str, title: str, described: str) -> str:
    svg = svg[svg.index("<svg") :]
    # The metadata holds addresses, and the style element would apply to the whole page.
    svg = _without(_without(svg, "metadata"), "style")
    # Several charts share a page, so the ids of each must be its own.
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    opening = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" viewBox="{_view_box(svg)}">'
        f'<title id="{name}-title">{escape(_one_line(title))}</title>'
        f'<desc id="{name}-desc">{escape(_one_line(described))}</desc>'
    )
    return opening + svg[svg.index(">") + 1 :].strip()


def _without(svg: str, element: str) -> str:
    before, *others = svg.split(f"<{element}")
    return before + "".join(other.partition(f"</{element}>")[2] for other in others)


def _view_box(svg: str) -> str:
    found = re.search(r'viewBox="([-\d. ]+)"', svg)
    assert found, "matplotlib writes a viewBox"
    return found[1]


def _one_line(text: str) -> str:
    """`text` with what cannot be seen, or turns the direction of reading, shown as a mark."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _short(label: str) -> str:
    line = _one_line(label)
    return line if len(line) <= _LABEL_LENGTH else line[: _LABEL_LENGTH - 1] + "…"


def _running_mean(values: Sequence[float]) -> list[float]:
    """The mean of the tenth of all values that surrounds each, narrower towards both ends."""
    reach = len(values) // 20
    means = []
    for index in range(len(values)):
        near = min(reach, index, len(values) - 1 - index)
        window = values[index - near : index + near + 1]
        means.append(math.fsum(window) / len(window))
    return means


def _spread(length: int, most: int) -> list[int]:
    """At most `most` indices, evenly spread, with the first and the last."""
    if length <= most:
        return list(range(length))
    return [round(index * (length - 1) / (most - 1)) for index in range(most)]


def _floor_to_ten(values: Iterable[float]) -> float:
    return math.floor(min(values) / 10) * 10.0
