"""A backend without a model: it answers at once, short or long as the person's choices were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fspo.assistant.backend import Abilities, Messages, Person, Reply
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference

BREAKS = "\u2622"  # in what is to be said, breaks off there


class PretendBackend:
    """Everything it says can be told from what it was given."""

    def __init__(self, describes: bool = True) -> None:
        self.abilities = Abilities(describes=describes, models=("fspo",))
        self.forgotten: list[str] = []
        self.seen: list[Person] = []
        self.closed = 0

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        self.seen.append(person)
        likes = "".join(sorted({shot.chosen for shot in person.shots}))
        return self._say(f"{messages[-1]['content']}|{likes}|{person.description}", sampling)

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        return self._say(f"plain: {messages[-1]['content']}", sampling)

    def _say(self, text: str, sampling: Sampling) -> Reply:
        def pieces() -> Iterator[str]:
            try:
                for letter in text[: sampling.max_tokens]:
                    if letter == BREAKS:
                        raise FspoError("the model is gone")
                    reply.completion_tokens += 1
                    yield letter
                if len(text) > sampling.max_tokens:
                    reply.finish_reason = "length"
            finally:
                self.closed += 1

        reply = Reply(pieces(), prompt_tokens=7, cached_tokens=3)
        return reply

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        return [float(len(answer)) for answer in answers]

    def choose(
        self, person: Person, candidates: Sequence[Preference], seed: int
    ) -> tuple[int, bool]:
        return 0, bool(person.shots)

    def describe(self, person: Person) -> str:
        return f"somebody after {len(person.shots)} choices" if self.abilities.describes else ""

    def forget(self, key: str) -> None:
        self.forgotten.append(key)
