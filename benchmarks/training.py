"""Training speed and memory, this project's tree beside TRL's DPOTrainer, in one run.

    make bench                                 reviews as they are, 8 shots
    python benchmarks/training.py --axis shots --json FILE --plot FILE.svg

Each contestant runs in a process of its own, one after the other, so that its peak memory is its
own. A run that is interrupted goes on with the points that `--json` lacks. What is printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from contestants import NAMES
from machine import machine

from fspo.console import say
from fspo.errors import FspoError
from fspo.evaluation.evaluate import versions
from fspo.files import write_json, write_text

# (shots, words of a response): 0.75 words of these reviews are about a token.
AXES: dict[str, list[tuple[int, int | None]]] = {
    "reviews": [(8, None)],
    "shots": [(shots, 36) for shots in (1, 2, 4, 8, 16, 32)],
    "length": [(8, words) for words in (12, 24, 48, 96, 192, 384)],
    "context": [(shots, 48) for shots in (3, 7, 14, 28, 56)],
}
LABELS = {"shots": "shots", "length": "words of a response", "context": "tokens of context"}
RATIOS = {
    "chain, against TRL on pairs at all shots": ("fspo chain", "trl", "pairs_per_second"),
    "chain, against TRL on pairs at 0 to all shots": (
        "fspo chain",
        "trl",
        "pairs_per_second_at_0_to_all_shots",
    ),
    "chain, against TRL precomputed, at all shots": (
        "fspo chain",
        "trl precomputed",
        "pairs_per_second",
    ),
    "paper, against TRL on the same pairs": ("fspo paper", "trl paper", "pairs_per_second"),
}


def main() -> None:
    """Runs every contestant at every point of an axis, prints and keeps what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--axis", choices=AXES, default="reviews")
    parser.add_argument("--most", type=int, help="leave out the points beyond so many of the axis")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps that are timed")
    parser.add_argument("--batch", type=int, default=1, help="episodes, or TRL's pairs, in a step")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="CONTESTANT")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--plot", type=Path, help="draw it here (.svg, .png)")
    given = parser.parse_args()
    points = [
        (shots, words)
        for shots, words in AXES[given.axis]
        if not given.most or (words if given.axis == "length" else shots or 0) <= given.most
    ]
    results = begun(given)
    for shots, words in points[len(results["points"]) :]:
        point: dict[str, Any] = {"shots": shots, "words": words, "contestants": {}}
        for name in given.only:
            say(f"{given.axis}: {shots} shots, {words or 'its own'} words: {name}")
            point["contestants"][name] = contest(name, shots, words, given.steps, given.batch)
        point["speed_up"] = speed_up(point["contestants"])
        results["points"].append(point)
        if given.json:
            write_json(given.json, results)
    print(json.dumps(results, indent=2))
    if given.plot:
        write_text(given.plot, drawn(results, given.plot.suffix[1:]))


def begun(given: argparse.Namespace) -> dict[str, Any]:
    """What `--json` holds of this very run, or a new result without points.

    Raises:
        FspoError: if it holds another one.
    """
    settings = {
        "axis": given.axis,
        "steps": given.steps,
        "batch": given.batch,
        "contestants": list(given.only),
    }
    if given.json and given.json.is_file():
        there: dict[str, Any] = json.loads(given.json.read_text(encoding="utf-8"))
        if there.get("settings") != settings:
            raise FspoError(f"{given.json}: holds another run's result; take another name")
        return there
    import trl

    return {
        "machine": machine(),
        "settings": settings,
        "versions": versions() | {"trl": trl.__version__},
        "points": [],
    }


def contest(name: str, shots: int, words: int | None, steps: int, batch: int) -> dict[str, Any]:
    """One contestant's figures, or the last line of what it ended with."""
    command = [sys.executable, str(Path(__file__).parent / "contestants.py"), name]
    command += ["--shots", str(shots), "--steps", str(steps), "--batch", str(batch)]
    command += ["--words", str(words)] if words else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # Such as memory: that a contestant cannot do it is a result, too.
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"ended with {done.returncode}"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def speed_up(contestants: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times as many pairs a second, and how much of the memory."""
    found = {
        name: contestants[ours]["pairs_per_second"] / contestants[theirs][figure]
        for name, (ours, theirs, figure) in RATIOS.items()
        if "pairs_per_second" in contestants.get(ours, ()) and figure in contestants.get(theirs, ())
    }
    peaks = [
        contestants[name]["peak_memory_gb"]
        for name in ("fspo chain", "trl")
        if "peak_memory_gb" in contestants.get(name, ())
    ]
    if len(peaks) == 2:
        found["chain: share of TRL's peak memory"] = peaks[0] / peaks[1]
    return found


def drawn(results: dict[str, Any], kind: str) -> str:
    """Pairs a second and peak memory of every contestant along the axis, as an SVG."""
    import io

    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if kind != "svg":
        raise FspoError(f"--plot: .{kind}: it is drawn as .svg")
    axis, points = results["settings"]["axis"], results["points"]
    places = [_place(axis, point) for point in points]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    figures = ("pairs_per_second", "peak_memory_gb")
    for axes, what, label in zip(
        figure.subplots(1, 2), figures, ("pairs a second", "peak memory, GB"), strict=True
    ):
        for name in results["settings"]["contestants"]:
            known = [
                (place, point["contestants"][name][what])
                for place, point in zip(places, points, strict=True)
                if what in point["contestants"][name]
            ]
            axes.plot(*zip(*known, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=LABELS.get(axis, ""), ylabel=label)
        axes.set_xticks(places, [str(place) for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _place(axis: str, point: dict[str, Any]) -> int:
    """Where a point stands on its axis."""
    if axis == "context":
        return int(point["contestants"]["fspo chain"]["context"])
    return int(point["words" if axis == "length" else "shots"])


if __name__ == "__main__":
    try:
        main()
    except FspoError as error:
        sys.exit(f"training.py: {error}")
