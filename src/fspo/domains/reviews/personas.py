"""Persona steering: how a small model is made to write reviews of all four trained kinds.

Measured with the embedded 135M model: told only what to write, it stays positive and long;
shown two or three reviews of the kind first, it follows both sentiment and length.
"""

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
        "The actors are brilliant, the story is full of warmth, and the ending is perfect. I left "
        "happy and inspired, and I would gladly see it again.",
        "I love this album. The singing is lovely, the songs are charming, and the band plays with "
        "real passion. The last song is the best, gentle and full of hope. I enjoy it more every "
        "day, a true masterpiece.",
    ),
    "negative, verbose": (
        "The play at the town theater is awful. I hated it from the first scene to the last. The "
        "actors are terrible, the story is stupid, and the ending is a mess. I left bored and "
        "angry, and I regret that I wasted my evening on it.",
        "I hate this album. The singing is weak, the songs are dull, and the band plays without "
        "any passion. The last song is the worst, ugly and painfully long. It annoys me more every "
        "day, a horrible failure.",
    ),
}

PERSONAS = tuple(_EXAMPLES)


def conversation(persona: str, title: str) -> list[dict[str, str]]:
    """What makes a model review `title` as that persona would."""
    sentiment, length = persona.split(", ")
    kind = f"{'short' if length == 'concise' else 'long'}, {sentiment}"
    messages = []
    for subject, review in zip(_SUBJECTS, _EXAMPLES[persona], strict=False):
        messages.append({"role": "user", "content": f"Write a {kind} review of {subject}."})
        messages.append({"role": "assistant", "content": review})
    return [*messages, {"role": "user", "content": f"Write a {kind} review of {title}."}]
