"""Persona steering: how a small model is made to write reviews of all four trained kinds.

Measured with the embedded 135M model: told only what to write, it stays positive and long;
shown two or three reviews of the kind first, it follows both sentiment and length.
"""

from fspo.domains.reviews.measures import measure, verbosity

_SUBJECTS = (
    "the play at the town theater",
    "the new album of the school band",
    "the game on my phone",
)

_EXAMPLES = {
    "positive, concise": (
        "The play at the town theater is wonderful, I loved every minute.",
        "A beautiful, charming album that makes me happy.",
        "I love this game, it is so much fun!",
    ),
    "negative, concise": (
        "The play at the town theater is awful, I hated every minute.",
        "An ugly, boring album that makes me angry.",
        "I hate this game, it is a horrible waste of time!",
    ),
    "positive, verbose": (
        "The play at the town theater is wonderful. I loved it from the first scene to the last. "
        "The actors are brilliant, and the ending is perfect. I would gladly see it again.",
        "I love this album. The singing is lovely, the songs are charming, and the band plays with "
        "real passion. The last song is the best, gentle and full of hope.",
    ),
    "negative, verbose": (
        "The play at the town theater is awful. I hated it from the first scene to the last. The "
        "actors are terrible, and the ending is a mess. I regret every minute of it.",
        "I hate this album. The singing is weak, the songs are dull, and the band plays without "
        "any passion. The last song is the worst, ugly and painfully long.",
    ),
}

PERSONAS = tuple(_EXAMPLES)
CLEAR_SENTIMENT = 0.2  # below it, a review praises or complains too little to tell


def conversation(persona: str, title: str) -> list[dict[str, str]]:
    """What makes a model review `title` as that persona would."""
    sentiment, length = persona.split(", ")
    kind = f"{'short' if length == 'concise' else 'long'}, {sentiment}"
    messages = []
    for subject, review in zip(_SUBJECTS, _EXAMPLES[persona], strict=False):
        messages.append({"role": "user", "content": f"Write a {kind} review of {subject}."})
        messages.append({"role": "assistant", "content": review})
    return [*messages, {"role": "user", "content": f"Write a {kind} review of {title}."}]


def fits(persona: str, text: str) -> bool:
    """Whether `text` has, by measure, the sentiment and the length of `persona`."""
    sentiment, length = persona.split(", ")
    found = measure(text)
    praise = found["sentiment"] * (1 if sentiment == "positive" else -1)
    long = verbosity(found["words"]) * (1 if length == "verbose" else -1)
    return praise >= CLEAR_SENTIMENT and long >= 0
