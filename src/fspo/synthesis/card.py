"""The card of a synthetic dataset and its plots: how it was made, what was checked."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fspo.domains.domain import Domain
from fspo.recipe import SynthesizeRecipe
from fspo.synthesis.population import from_personas
from fspo.synthesis.quoting import cell

if TYPE_CHECKING:
    from fspo.synthesis.stage import Cast


_MANNERS = {
    "personas": "for different personas",
    "views": "from different views",
    "none": "anew each time, with nothing but chance to tell them apart",
}


def card(
    domain: Domain, recipe: SynthesizeRecipe, cast: Cast, figures: Mapping[str, Any], seed: int
) -> str:
    """The text of `README.md`, in Markdown.

    Args:
        domain: what was asked.
        recipe: how much of everything.
        cast: who did the work.
        figures: what `make` returns.
        seed: what every random choice depended on.
    """
    splits = [
        f"| {split} | {figures['questions'][split]} | {count} |"
        for split, count in figures["users"].items()
    ]
    writers = [f"| {cell(name)} | {count} |" for name, count in figures["writers"].items()]
    listed = from_personas(recipe, domain)
    users = (
        "each is like one of the personas that the domain lists (`users.parquet`), in turn"
        if listed
        else f"drawn from the traits below{_grown(figures)}"
    )
    sources = [f"- **{cell(t.name)}**: {cell(t.source)}" for t in domain.traits if not listed]
    labels = figures["labels"]
    manner = _MANNERS[domain.diversity]
    judged = (
        "measured, not judged: the answer whose measures are nearer to what the user wants is "
        f"preferred, if the difference in utility is at least {recipe.margin:g}"
        + (f" and its own at least {recipe.liked:g}" if recipe.liked is not None else "")
        if recipe.labeller == "measured"
        else f"by `{cell(recipe.labeller.model)}`, told who the user is and to ignore length, "
        "asked in both orders"
    )
    opposed = (
        ", and of those only pairs that two users are sure of opposite things about"
        if recipe.opposed
        else ""
    )
    return f"""# Synthetic preferences: {cell(domain.title)}

{figures["preferences"]} preferences of {sum(figures["users"].values())} users who do not exist,
made with `fspo`. No user and no question is in two splits.

| split | questions | users |
| --- | --- | --- |
{chr(10).join(splits)}

{figures["grown_questions"]} of the questions were grown by a model, the others are curated.

## How it was made
- **Answers**: {figures["answers"]}, written {manner}.
- **Labels**: {judged}. Of the pairs asked about, {labels["clear"]} were clear,
  {labels["inconsistent"]} inconsistent between the two orders, {labels["unsure"]} too close and
  {labels["malformed"]} answered with something else than a letter; only clear ones are
  here{opposed}.
- **Users**: {users}.
{_refused(figures)}- **Seed**: {seed}.

| writer | answers |
| --- | --- |
{chr(10).join(writers)}

{chr(10).join(sources)}

## What was checked
All figures are in `checks.json`.

{_checked(figures)}

![How often users disagree](plots/disagreement.png)

![Labels, similarity and entropy](plots/checks.png)

## What it cannot show
Users, answers and labels are synthetic. A labeller's bias is in the labels, and what a small model
says about the world is often wrong.
"""


def _grown(figures: Mapping[str, Any]) -> str:
    if "after" not in figures["entropy"]:
        return ""
    return (
        f"; a description grew by {figures['growth']} sentences on average while it was refined "
        "(`growth.jsonl`, step by step)"
    )


def _refused(figures: Mapping[str, Any]) -> str:
    reasons = figures.get("refused", {})
    if not reasons:
        return ""
    listed = "".join(f"  - {count} times: {cell(why)}\n" for why, count in _first(reasons))
    return f"- **Refused by servers**, and left out: {sum(reasons.values())} requests.\n{listed}"


def _first(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return list(reasons.items())[:10]


def _checked(figures: Mapping[str, Any]) -> str:
    alike, entropy, differ = figures["similarity"], figures["entropy"], figures["disagreement"]
    leaks = figures["leaks"]
    rows = {
        "similarity of the answers to a question, mean": alike["mean"],
        "the same, median": alike["median"],
        "label entropy before refinement, nats": entropy["before"],
        "label entropy after refinement, nats": entropy.get("after", "no refinement"),
        "users' mean disagreement": differ["mean"],
        "users outside its bounds": differ["users_outside"],
        "users remade": differ["users_remade"],
        "lean toward the answer shown first": figures["position"]["mean_lean"],
        "the longer answer is chosen": figures["length"]["longer_chosen"],
        "the answer drawn first is chosen": figures["balance"]["first_chosen"],
        "held-out questions nearly the same as a training question": leaks["questions"][
            "nearly_the_same"
        ],
        "held-out users nearly the same as a training user": leaks["users"]["nearly_the_same"],
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| check | value |", "| --- | --- |", *lines])


def plots(figures: Mapping[str, Any]) -> dict[str, bytes]:
    """PNG images by file name; the same figures give the same bytes."""
    import numpy as np
    from matplotlib.figure import Figure

    matrix = Figure(figsize=(5, 4.2), layout="constrained")
    axes = matrix.add_subplot()
    shown = np.array(figures["disagreement"]["matrix"])
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="viridis")
    axes.set(title="Share of pairs on which two users disagree", xlabel="user", ylabel="user")
    matrix.colorbar(image)

    bars = Figure(figsize=(8, 2.8), layout="constrained")
    left, middle, right = bars.subplots(1, 3)
    left.barh(list(figures["labels"]), list(figures["labels"].values()), color="#3366aa")
    left.set(title="labels")
    left.invert_yaxis()
    alike = {name: figures["similarity"][name] or 0.0 for name in ("mean", "median")}
    middle.bar(list(alike), list(alike.values()), color="#3366aa")
    middle.set(title="similarity of answers", ylim=(0, 1))
    right.bar(list(figures["entropy"]), list(figures["entropy"].values()), color="#3366aa")
    right.axhline(np.log(2), color="gray", linestyle=":")
    right.set(title="label entropy, nats (dotted: a coin)")
    return {"disagreement.png": _png(matrix), "checks.png": _png(bars)}


def _png(figure: Any) -> bytes:
    held = BytesIO()
    figure.savefig(held, format="png", dpi=110, metadata={"Software": None})
    return held.getvalue()
