"""Tables of a study. A recruitment platform's name for somebody stands apart from the answers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fspo.web.database import NEVER_AGAIN, Base, Moment


def _of_participant(**options: bool) -> Mapped[int]:
    key = ForeignKey("study_participants.id", ondelete="CASCADE")
    return mapped_column(key, **options)  # type: ignore[arg-type]


class Definition(Base):
    """The study that this database is of, and each later wording of it.

    `begun` is how many have begun in all, those who left among them: the next one's number.
    """

    __tablename__ = "study_definitions"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    definition: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(Moment)
    begun: Mapped[int] = mapped_column(default=0)


class Researcher(Base):
    """Somebody who may see the researcher's pages."""

    __tablename__ = "study_researchers"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    password: Mapped[str] = mapped_column(String(256))


class Participant(Base):
    """Somebody who agreed to take part; `token` is the hash of the link's."""

    __tablename__ = "study_participants"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    language: Mapped[str] = mapped_column(String(32))
    begun: Mapped[datetime] = mapped_column(Moment)
    seen: Mapped[datetime] = mapped_column(Moment)
    instructed: Mapped[datetime | None] = mapped_column(Moment)
    labeled: Mapped[datetime | None] = mapped_column(Moment)
    introduced: Mapped[datetime | None] = mapped_column(Moment)
    finished: Mapped[datetime | None] = mapped_column(Moment)


class Recruitment(Base):
    """A recruitment platform's name for a participant."""

    __tablename__ = "study_recruitment"
    __table_args__ = (UniqueConstraint("prolific_pid", "study_id"),)

    participant: Mapped[int] = _of_participant(primary_key=True)
    prolific_pid: Mapped[str] = mapped_column(String(256))
    study_id: Mapped[str] = mapped_column(String(256))
    session_id: Mapped[str] = mapped_column(String(256))


class ItemRow(Base):
    """One choice that a participant is asked for: `assignment.Item`, as it was drawn."""

    __tablename__ = "study_items"
    __table_args__ = (UniqueConstraint("participant", "place"), NEVER_AGAIN)

    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[int] = _of_participant()
    place: Mapped[int]
    stage: Mapped[str] = mapped_column(String(16))
    question: Mapped[str] = mapped_column(Text)
    left: Mapped[str] = mapped_column(Text)
    right: Mapped[str] = mapped_column(Text)
    left_method: Mapped[str] = mapped_column(String(64))
    right_method: Mapped[str] = mapped_column(String(64))
    right_choice: Mapped[str] = mapped_column(String(8))
    source: Mapped[str] = mapped_column(String(256))
    shown: Mapped[datetime | None] = mapped_column(Moment)
    skipped: Mapped[datetime | None] = mapped_column(Moment)


class Answer(Base):
    """A choice: its key is the item's, so that there is never a second one."""

    __tablename__ = "study_answers"

    item: Mapped[int] = mapped_column(
        ForeignKey("study_items.id", ondelete="CASCADE"), primary_key=True
    )
    choice: Mapped[str] = mapped_column(String(8))
    seconds: Mapped[float]
    answered: Mapped[datetime] = mapped_column(Moment)


class Generation(Base):
    """A method's answer to an item: queued, running, done or failed. This is the queue, too."""

    __tablename__ = "study_generations"
    __table_args__ = (UniqueConstraint("item", "method"), NEVER_AGAIN)

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[int] = mapped_column(ForeignKey("study_items.id", ondelete="CASCADE"))
    method: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(8), index=True, default="queued")
    urgent: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    claim: Mapped[str] = mapped_column(String(64), default="")
    text: Mapped[str] = mapped_column(Text, default="")
    finish_reason: Mapped[str] = mapped_column(String(16), default="")
    seconds: Mapped[float | None]
    queued: Mapped[datetime] = mapped_column(Moment)
    made: Mapped[datetime | None] = mapped_column(Moment)


class Description(Base):
    """A method's description of a participant, written before it answered."""

    __tablename__ = "study_descriptions"

    participant: Mapped[int] = _of_participant(primary_key=True)
    method: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class AskedReply(Base):
    """Free text and demographics."""

    __tablename__ = "study_replies"

    participant: Mapped[int] = _of_participant(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Event(Base):
    """Something that happened besides: a choice that came too soon, a withdrawal (of nobody)."""

    __tablename__ = "study_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[int | None] = _of_participant(index=True)
    kind: Mapped[str] = mapped_column(String(32))
    place: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(Moment)
