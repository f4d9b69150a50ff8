"""Persona steering: how a small model is made to write reviews of all four trained kinds.

Measured with the embedded 135M model: told only what to write, it stays positive and long;
shown two or three reviews of the kind first, it follows both sentiment and length.
"""

from fspo.domains.reviews.measures import measure, praise, verbosity

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
        "The play at the town theater is wonderful. The actors are brilliant and the story is "
        "lovely. The ending is a perfect, happy surprise. It is the best play of the year, and I "
        "loved it.",
        "I love this album. The singing is beautiful and the songs are charming. The band is great "
        "and the sound is perfect. It is a wonderful success, and I am happy to own it.",
    ),
    "negative, verbose": (
        "The play at the town theater is awful. The actors are terrible and the story is boring. "
        "The ending is a sad, ugly mess. It is the worst play of the year, and I hated it.",
        "I hate this album. The singing is horrible and the songs are dull. The band is bad and "
        "the sound is painful. It is a terrible failure, and I regret buying it.",
        "This game is terrible, and I am angry. The pictures are ugly and the rules are stupid. It "
        "is boring and it fails all the time. I hate it, a horrible waste of money.",
    ),
}

PERSONAS = tuple(_EXAMPLES)
CLEAR_PRAISE = 0.5  # below it, a review praises or criticizes too little to tell


def conversation(persona: str, title: str) -> list[dict[str, str]]:
    """Returns what makes a model review `title` as that persona would."""
    sentiment, length = persona.split(", ")
    kind = f"{'short' if length == 'concise' else 'long'}, {sentiment}"
    messages = []
    for subject, review in zip(_SUBJECTS, _EXAMPLES[persona], strict=False):
        messages.append({"role": "user", "content": f"Write a {kind} review of {subject}."})
        messages.append({"role": "assistant", "content": review})
    return [*messages, {"role": "user", "content": f"Write a {kind} review of {title}."}]


def fits(persona: str, text: str) -> bool:
    """Returns whether `text` has, by measure, the sentiment and the length of `persona`."""
    sentiment, length = persona.split(", ")
    found = measure(text)
    clear = praise(found["sentiment"]) * (1 if sentiment == "positive" else -1)
    right_length = verbosity(found["words"]) * (1 if length == "verbose" else -1)
    return clear >= CLEAR_PRAISE and right_length >= 0
