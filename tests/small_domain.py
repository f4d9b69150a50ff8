"""A domain that is small enough to reckon with, as files: for tests of the engine."""

from pathlib import Path

YAML = """\
name: tiny
title: Tiny questions
answer: Answer in one sentence.
diversity: {diversity}
guidelines: The better answer is the one this person likes.
measures:
  words: {{scale: 5}}
traits:
  - name: length
    sentence: This person likes {{}} answers.
    source: Made up for tests.
    ordered: true
    values:
      - {{value: short, wants: {{words: 5}}}}
      - {{value: middling, wants: {{words: 12}}}}
      - {{value: long, wants: {{words: 30}}}}
  - name: hobby
    sentence: They love {{}}.
    source: Made up for tests.
    values:
{hobbies}
"""

_TEXT = (
    "bread rivers lamps stones gardens windows letters paper mornings music copper harbors ladders "
    "oranges pockets silver thunder velvet winter yellow anchors baskets candles deserts"
)
THINGS = _TEXT.split()


def write_domain(folder: Path, diversity: str = "personas") -> Path:
    """Writes the domain's files to `folder`, and returns it."""
    hobbies = "\n".join(f"      - {{value: {thing}}}" for thing in THINGS)
    (folder / "questions").mkdir(parents=True)
    text = YAML.format(diversity=diversity, hobbies=hobbies)
    (folder / "domain.yaml").write_text(text, encoding="utf-8")
    for topic in ("why", "how"):
        lines = [f"{topic.title()} do people care about {thing}?" for thing in THINGS]
        (folder / "questions" / f"{topic}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder
