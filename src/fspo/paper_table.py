"""A table of the paper from the results of several seeds: pooled, and as Markdown to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fspo.evaluation.summaries import summary
from fspo.evaluation.win_rates import difference

Results = Mapping[str, Any]  # what is in a `results.json`
Table = dict[str, Any]
Cell = Mapping[str, Any]


def pooled(runs: Sequence[Results], published: Mapping[str, float]) -> dict[str, Any]:
    """A column: every method over the users of all seeds, each seed with its own users.

    Args:
        runs: the results of each seed, of the same methods.
        published: the paper's win rates.

    Returns:
        `methods` (win rate in percent, its interval over users, and each seed's), `differences` of
        the first policy to every other method, in points, paired by prompt, `predictions`
        (accuracy by shots) and `descriptions` (how near they come), both the mean over seeds, and
        `runs`, each seed's own figures.
    """
    first = runs[0]
    rates = {name: _by_user(runs, name) for name in first["methods"]}
    subject = _subject(first)
    return {
        "methods": {
            name: summary(own, 0, "winrate")
            | {
                "by_seed": [run["methods"][name]["winrate"] for run in runs],
                "length_controlled": _mean(
                    [run["methods"][name]["length_controlled"] for run in runs], 2
                ),
                "mean_length": _mean([run["methods"][name]["mean_length"] for run in runs], 1),
            }
            | _repetition([run["methods"][name] for run in runs])
            for name, own in rates.items()
        },
        "subject": subject,
        "differences": {
            name: difference(rates[subject], own, 0)
            for name, own in rates.items()
            if name != subject
        },
        "predictions": {
            name: {
                count: _mean([run["predictions"][name]["by_shots"][count] for run in runs], 4)
                for count in found["by_shots"]
            }
            for name, found in first["predictions"].items()
        },
        "descriptions": {
            name: {
                key: _mean([run["descriptions"][name][key] for run in runs], 4)
                for key in ("mean", "before", "chance")
                if first["descriptions"][name][key] is not None
            }
            for name in first["descriptions"]
        },
        "published": dict(published),
        "judge": first["judge"],
        "model": first["model"],
        "users": [run["users"] for run in runs],
        "runs": [
            {
                key: run[key]
                for key in ("seed", "methods", "predictions", "descriptions", "versions")
            }
            for run in runs
        ],
    }


def _subject(results: Results) -> str:
    """The policy that the results are about: the one method without a difference to itself."""
    [name] = set(results["methods"]) - set(results["differences"])
    return str(name)


def _by_user(runs: Sequence[Results], name: str) -> dict[str, list[float]]:
    return {
        f"{run['seed']} {user}": values
        for run in runs
        for user, values in run["methods"][name]["by_user"].items()
    }


def _repetition(methods: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns how far a method repeats itself; nothing where a seed's results do not have it."""
    if any("repetition" not in method for method in methods):
        return {}
    return {"repetition": _mean([method["repetition"] for method in methods], 1)}


def _mean(values: Sequence[float], digits: int) -> float:
    return round(float(np.mean(values)), digits)


def render(table: Table) -> str:
    """The table as Markdown: our win rates with 95% intervals, the published ones in brackets."""
    columns = table["columns"]
    first = next(iter(columns.values()))
    lines = [
        f"# {_plain(table['title'])}",
        "",
        "Win rate over base in percent, 95% interval over users; in brackets what the paper says.",
        "",
        *_win_rates(columns),
        "",
        f"By how many points {_plain(first['subject'])} is above each, paired by prompt:",
        "",
        *_differences(columns),
        "",
    ]
    lines += [line for item in columns.items() if (line := _repeated(*item))]
    for name, column in columns.items():
        if column["predictions"]:
            lines += [f"Preference accuracy by number of shots, {_plain(name)}:", ""]
            lines += [*_accuracies(column["predictions"]), ""]
        described = column["descriptions"].items()
        lines += [_nearness(name, method, found) for method, found in described]
    lines += [
        f"Model {first['model']}; judge {first['judge']}; "
        f"{_numbered(table['seeds'])}, with {_people(columns)}.",
    ]
    if table["differs"]:
        lines += ["", f"What differs from the paper: {table['differs'].strip()}"]
    return "\n".join(lines) + "\n"


def _repeated(name: str, column: Mapping[str, Any]) -> str:
    methods = column["methods"].items()
    shares = [f"{_plain(m)} {o['repetition']:.1f}" for m, o in methods if "repetition" in o]
    said = "Of an answer's runs of three words, so many percent stood in it before"
    return f"{said}, {_plain(name)}: {', '.join(shares)}.\n" if shares else ""


def _nearness(column: str, method: str, found: Mapping[str, float]) -> str:
    before = f"{found['before']:.3f} before preferences; " if "before" in found else ""
    return (
        f"{_plain(column)}: {_plain(method)} describes users with a cosine of {found['mean']:.3f} "
        f"to their true descriptions ({before}{found['chance']:.3f} to other users').\n"
    )


def _numbered(seeds: Sequence[int]) -> str:
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))


def _people(columns: Mapping[str, Any]) -> str:
    trained = next(iter(columns.values()))["users"][0]["train"]
    tested = ", ".join(f"{c['users'][0]['test']} ({_plain(n)})" for n, c in columns.items())
    return f"{trained} users to learn from and of new ones {tested} for each"


def _win_rates(columns: Mapping[str, Any]) -> list[str]:
    methods = dict.fromkeys(name for column in columns.values() for name in column["methods"])
    methods |= dict.fromkeys(name for column in columns.values() for name in column["published"])
    return _rows(
        columns,
        {
            name: [
                _cell(column["methods"].get(name), column["published"].get(name))
                for column in columns.values()
            ]
            for name in methods
        },
    )


def _accuracies(predictions: Mapping[str, Mapping[str, float]]) -> list[str]:
    counts = list(next(iter(predictions.values())))
    return _rows(
        counts,
        {name: [f"{own[count]:.3f}" for count in counts] for name, own in predictions.items()},
    )


def _differences(columns: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys(name for column in columns.values() for name in column["differences"])
    return _rows(
        columns,
        {
            name: [_signed(column["differences"].get(name)) for column in columns.values()]
            for name in names
        },
    )


def _rows(heads: Iterable[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    heads = list(heads)
    return [
        f"| | {' | '.join(map(_plain, heads))} |",
        f"| --- |{' --- |' * len(heads)}",
        *(f"| {_plain(name)} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]


def _cell(measured: Cell | None, published: float | None) -> str:
    ours = "–"
    if measured:
        ours = f"{measured['winrate']:.1f}"
        if interval := measured["ci95"]:
            ours += f" ({interval[0]:.1f} to {interval[1]:.1f})"
    return ours if published is None else f"{ours} [{published:.1f}]"


def _signed(found: Cell | None) -> str:
    if not found:
        return "–"
    text = f"{found['difference']:+.1f}"
    if interval := found["ci95"]:
        text += f" ({interval[0]:+.1f} to {interval[1]:+.1f})"
    return text


def _plain(name: str) -> str:
    """A method's name, which a recipe gives, as the text of a cell."""
    return name.replace("|", "\\|").replace("\n", " ")
