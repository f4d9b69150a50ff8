"""The card of a synthetic dataset: how it was made, what it holds and what it cannot show."""

from collections.abc import Mapping
from typing import Any


def card(
    domain: str, model: str, seed: int, margin: float, liked: float, figures: Mapping[str, Any]
) -> str:
    """The text of `README.md`, in Markdown.

    Args:
        domain: the domain's name.
        model: the name of the model that wrote the answers.
        seed: what every random choice depended on.
        margin: the least difference in utility of a pair.
        liked: the least utility of a chosen answer.
        figures: what `synthesize` returns.
    """
    rows = [
        f"| {split} | {figures['titles'][split]} | {count} | {figures['preferences'][split]} |"
        for split, count in figures["users"].items()
    ]
    kinds = [
        f"| {persona} | {' | '.join(f'{value:.2f}' for value in means.values())} |"
        for persona, means in figures["personas"].items()
    ]
    preferences, users = (sum(figures[name].values()) for name in ("preferences", "users"))
    names = list(next(iter(figures["personas"].values())))
    return f"""# Synthetic preferences: {domain}

{preferences} preferences of {users} users who do not exist, made with `fspo`.

| split | titles | users | preferences |
| --- | --- | --- | --- |
{chr(10).join(rows)}

No user and no title is in both splits.

## How it was made
- **Answers**: {figures["answers"]}, written by `{model}`, which was shown examples of each persona
  first. Half sentences were cut off; {figures["dropped"]:.1%} of what it wrote was dropped as
  empty, repeated, refusing, going in circles, or not measuring as the persona should.
- **Users**: each has `attributes` that say how much each measure is worth to them.
- **Labels**: `chosen` is the answer with the higher utility, the sum of what was measured in it
  weighted by the user's attributes. A pair is kept if its difference in utility (`gap`) is at
  least {margin} and the chosen answer is worth at least {liked} to the user: nobody is asked to
  choose the lesser evil. It is one pair for each user and title, and every pair has two users, who
  choose differently. The chosen answer is the longer one in
  {figures["chosen_is_longer"]:.1%} of the pairs.
- **Seed**: {seed}.

| persona | {" | ".join(f"mean {name}" for name in names)} |
| {" | ".join("---" for _ in range(len(names) + 1))} |
{chr(10).join(kinds)}

## What it cannot show
Users, answers and labels are synthetic. The labels follow from measures, so these users are more
consistent than people are, and what the measures miss, nobody here cares about. What the answers
say about the titles is often wrong: a small model made it up.
"""
