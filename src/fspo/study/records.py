"""Plain records of a study: for the researcher's page, results and exports.

Nothing here says who somebody is to a recruitment platform.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fspo.study.tables import (
    Answer,
    AskedReply,
    Event,
    Generation,
    ItemRow,
    Participant,
)
from fspo.web.database import Database


@dataclass(frozen=True)
class PersonRecord:
    """A participant by number, when each step was taken, and what was asked at the end."""

    number: int
    language: str
    begun: datetime
    seen: datetime
    instructed: datetime | None
    labeled: datetime | None
    introduced: datetime | None
    finished: datetime | None
    replies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemRecord:
    """An item as it was shown, with what was chosen; times in UTC, `choice` "" for none."""

    participant: int
    place: int
    stage: str
    question: str
    left: str
    right: str
    left_method: str
    right_method: str
    right_choice: str
    source: str
    shown: datetime | None
    skipped: datetime | None
    choice: str = ""
    seconds: float | None = None
    answered: datetime | None = None

    @property
    def is_check(self) -> bool:
        """Returns whether a right answer is known."""
        return bool(self.right_choice)

    @property
    def failed(self) -> bool:
        """Returns whether it is an attention check that was answered wrongly."""
        return self.is_check and self.choice not in ("", self.right_choice)

    @property
    def chosen_method(self) -> str:
        """Returns whose answer was chosen, where methods are judged."""
        return {"left": self.left_method, "right": self.right_method, "": ""}[self.choice]

    @property
    def rejected_method(self) -> str:
        """Returns whose was not."""
        return {"left": self.right_method, "right": self.left_method, "": ""}[self.choice]


@dataclass(frozen=True)
class Records:
    """Everything, in the order of participants and places."""

    people: Sequence[PersonRecord]
    items: Sequence[ItemRecord]
    events: Mapping[str, int]
    answers_by_state: Mapping[str, int]

    def items_of(self) -> dict[int, list[ItemRecord]]:
        """Each participant's items, by number."""
        own: dict[int, list[ItemRecord]] = {person.number: [] for person in self.people}
        for item in self.items:
            own[item.participant].append(item)
        return own


def read_records(database: Database) -> Records:
    """Reads one state of the database."""
    with database.reading() as session:
        return Records(
            _people(session),
            _items(session),
            Counter(session.scalars(select(Event.kind))),
            Counter(session.scalars(select(Generation.state))),
        )


def _people(session: Session) -> list[PersonRecord]:
    replies: dict[int, dict[str, str]] = {}
    for reply in session.scalars(select(AskedReply).order_by(AskedReply.name)):
        replies.setdefault(reply.participant, {})[reply.name] = reply.value
    return [
        PersonRecord(
            number=one.number,
            language=one.language,
            begun=one.begun,
            seen=one.seen,
            instructed=one.instructed,
            labeled=one.labeled,
            introduced=one.introduced,
            finished=one.finished,
            replies=replies.get(one.id, {}),
        )
        for one in session.scalars(select(Participant).order_by(Participant.number))
    ]


def _items(session: Session) -> list[ItemRecord]:
    generated = select(Generation.item, Generation.method, Generation.text)
    texts = {(row.item, row.method): row.text for row in session.execute(generated)}
    rows = session.execute(
        select(ItemRow, Answer, Participant.number)
        .join(Participant, Participant.id == ItemRow.participant)
        .outerjoin(Answer, Answer.item == ItemRow.id)
        .order_by(Participant.number, ItemRow.place)
    )
    return [
        ItemRecord(
            participant=number,
            place=item.place,
            stage=item.stage,
            question=item.question,
            left=texts.get((item.id, item.left_method), item.left),
            right=texts.get((item.id, item.right_method), item.right),
            left_method=item.left_method,
            right_method=item.right_method,
            right_choice=item.right_choice,
            source=item.source,
            shown=item.shown,
            skipped=item.skipped,
            choice=answer.choice if answer else "",
            seconds=answer.seconds if answer else None,
            answered=answer.answered if answer else None,
        )
        for item, answer, number in rows
    ]
