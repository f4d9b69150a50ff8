"""Sentences about an evaluation, computed from its numbers."""

import math
from collections.abc import Iterator, Mapping

from fspo.evaluation.results import Accuracy, Interval, Results, WinRate


def headline(results: Results) -> str:
    """The finding that comes first: what the shots tell the model about a user."""
    accuracy = finite(results.preference_accuracy.by_shots)
    if not accuracy:
        return f"What {results.model} learned from a few choices of each user"
    fewest, most = min(accuracy), max(accuracy)
    before, after = (percent(100 * accuracy[shots]) for shots in (fewest, most))
    whose = "a new user's" if results.new == "users" else "a user's"
    picks = f"the model picks the answer that the user prefers in {after} of cases"
    if fewest == most:
        return f"With {most or 'none'} of {whose} choices, {picks}."
    return f"With {most} of {whose} choices, {picks}; with {fewest or 'none'}, in {before}."


def findings(results: Results) -> list[str]:
    """Returns what the numbers say, a sentence each."""
    sentences = list(_accuracy_findings(results.preference_accuracy))
    for name in own_methods(results):
        sentences += _win_findings(name, results)
    if refused := results.judging.refused:
        reasons = "; ".join(f"{count}: {why}" for why, count in list(refused.items())[:5])
        sentences.append(
            f"{sum(refused.values())} verdicts were refused by the judge's server, and count half "
            f"({reasons})."
        )
    for group in results.warnings:
        sentences.append(
            f"Users whose {group.attribute} is “{group.value}” ({group.users} of them) are served "
            f"worse than the others: {percent(group.winrate, 1)} against "
            f"{percent(group.others, 1)} of comparisons are won."
        )
    return sentences


def _accuracy_findings(accuracy: Accuracy) -> Iterator[str]:
    values = finite(accuracy.by_shots)
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
    known = None if fewest else accuracy.gain.get(most)  # which is over no shots at all
    interval = known.ci95 if known else None
    doubt = _doubt((100 * interval[0], 100 * interval[1]) if interval else None)
    doubt = f" ({doubt})" if doubt else ""
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
        f"{percent(ours.winrate, 1)} of comparisons{interval_text(ours.ci95)}: {_verdict(ours)}."
    )
    for other_name, what in (
        ("few-shot prompted", "prompting the base model with the same choices"),
        ("oracle", "the oracle, which is told the user's description"),
    ):
        other = results.methods.get(other_name)
        # Of the same prompts; known of the policy that the results are about, and of no other.
        known = None if name in results.differences else results.differences.get(other_name)
        if other and not math.isnan(other.winrate):
            doubt = _doubt(known.ci95 if known else None)
            figures = "; ".join(filter(None, [percent(other.winrate, 1), doubt]))
            yield f"{name} {_compared(ours.winrate, other.winrate)} {what} ({figures})."
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
    if base and math.isfinite(ours.repetition) and math.isfinite(base.repetition):
        yield (
            f"On average {percent(ours.repetition, 1)} of an answer's runs of three words stood in "
            f"it before, of the base model's {percent(base.repetition, 1)}."
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


def _doubt(difference: Interval) -> str:
    """Returns what the interval of a difference, in points, says of it; "" where there is none."""
    if difference is None:
        return ""
    chance = ", so this may be chance" if difference[0] <= 0 <= difference[1] else ""
    low, high = (f"{end:.1f}".replace("-", "\N{MINUS SIGN}") for end in difference)
    return f"95% interval of the difference: {low} to {high} points{chance}"


def ends(interval: Interval) -> str:
    """An interval as a table shows it; "–" where it is not known."""
    return f"{interval[0]:.1f}% to {interval[1]:.1f}%" if interval else "–"


def words(length: float) -> str:
    """A mean number of words as a table shows it."""
    return "–" if math.isnan(length) else f"{length:.1f}"


def interval_text(interval: Interval) -> str:
    """An interval as it follows a figure in a sentence; nothing where it is not known."""
    if interval is None:
        return ""
    return f" (95% interval {ends(interval)})"


def percent(value: float, digits: int = 0) -> str:
    """`value` as a percentage; "–" for nan, and never rounded to all or nothing."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    if digits == 0 and 0 < value < 100 and text in ("0", "100"):
        text = f"{value:.1f}"
    return f"{text}%"


def own_methods(results: Results) -> list[str]:
    """The methods that the page is about: the first policy, whatever it is called, and FSPO."""
    compared = results.differences
    return [n for n in results.methods if n.startswith("FSPO") or (compared and n not in compared)]


def finite(values: Mapping[int, float]) -> dict[int, float]:
    """Returns what was measured, in the order of the keys."""
    return {key: value for key, value in sorted(values.items()) if math.isfinite(value)}
