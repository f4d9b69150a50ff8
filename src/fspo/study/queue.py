"""The queue of answers to be written, kept in the database, so that a restart goes on with it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from fspo.preferences.records import Preference
from fspo.study.tables import Answer, Description, Event, Generation, ItemRow, Participant
from fspo.web.database import Database, now
from fspo.web.sessions import new_token

ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """One answer to write.

    Attributes:
        generation: its row.
        claim: who is writing it: a row that was given to somebody else is left alone.
        participant: whose it is.
        key: the participant's, as backends know it.
        number: the participant's, which the sampling depends on.
        place: of the item.
        question: what is to be answered.
        method: by which method.
        attempt: which one this is, from 1.
    """

    generation: int
    claim: str
    participant: int
    key: str
    number: int
    place: int
    question: str
    method: str
    attempt: int


class Queue:
    """The queue that workers take from and hand back to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recover(self) -> None:
        """Returns to the queue what was being written when the server ended."""
        with self._database.writing() as session:
            running = update(Generation).where(Generation.state == "running")
            fewer = Generation.attempts - 1  # the interrupted attempt was no failure
            session.execute(running.values(state="queued", claim="", attempts=fewer))

    def claim(self) -> Job | None:
        """Takes the next answer: of those who are waiting first, and their first question first."""
        if not self._waiting():
            return None  # looking does not take the lock that writing takes
        with self._database.writing() as session:
            found = session.execute(
                select(Generation, ItemRow, Participant)
                .join(ItemRow, ItemRow.id == Generation.item)
                .join(Participant, Participant.id == ItemRow.participant)
                .where(Generation.state == "queued")
                .order_by(Generation.urgent.desc(), ItemRow.place, Generation.id)
                .limit(1)
                .with_for_update(skip_locked=True, of=Generation)
            ).first()
            if found is None:
                return None
            row, item, participant = found
            row.state, row.claim, row.attempts = "running", new_token(), row.attempts + 1
            return Job(
                row.id,
                row.claim,
                participant.id,
                f"study-{participant.token}",
                participant.number,
                item.place,
                item.question,
                row.method,
                row.attempts,
            )

    def done(self, job: Job, text: str, finish_reason: str, seconds: float) -> None:
        """Keeps an answer."""
        self._set(job, state="done", text=text, finish_reason=finish_reason, seconds=seconds)

    def failed(self, job: Job) -> None:
        """Queues it again; after `ATTEMPTS`, the item is skipped, so that nobody waits forever."""
        with self._database.writing() as session:
            row = session.get(Generation, job.generation, with_for_update=True)
            if row is None or row.claim != job.claim:
                return
            row.state, row.claim = "queued", ""
            if row.attempts >= ATTEMPTS:
                row.state = "failed"
                item = session.get(ItemRow, row.item)
                if item is not None:
                    item.skipped = now()
                session.add(Event(
                    participant=job.participant, kind="failed", place=job.place, at=now()
                ))  # fmt: skip

    def shots(self, participant: int) -> list[Preference]:
        """Returns the participant's choices among the pairs to label, without attention checks."""
        with self._database.reading() as session:
            rows = session.execute(
                select(ItemRow, Answer.choice)
                .join(Answer, Answer.item == ItemRow.id)
                .where(
                    ItemRow.participant == participant,
                    ItemRow.stage == "label",
                    ItemRow.right_choice == "",
                )
                .order_by(ItemRow.place)
            ).all()
        return [preference(item.question, item.left, item.right, choice) for item, choice in rows]

    def description(self, job: Job) -> str | None:
        """Returns what the method wrote of the participant, if it has."""
        with self._database.reading() as session:
            found = session.get(Description, (job.participant, job.method))
        return found.text if found else None

    def describe(self, job: Job, text: str) -> None:
        """Keeps what the method wrote of the participant, who may have left in the meantime."""
        with self._database.writing() as session:
            here = session.get(Participant, job.participant) is not None
            if here and session.get(Description, (job.participant, job.method)) is None:
                row = Description(participant=job.participant, method=job.method, text=text)
                session.add(row)

    def all_written(self, participant: int) -> bool:
        """Returns whether nothing is left to be written for a participant."""
        with self._database.reading() as session:
            left = (ItemRow.participant == participant) & Generation.state.in_(
                ("queued", "running")
            )
            join = select(Generation.id).join(ItemRow, ItemRow.id == Generation.item)
            return session.scalar(join.where(left).limit(1)) is None

    def _waiting(self) -> bool:
        with self._database.reading() as session:
            queued = select(Generation.id).where(Generation.state == "queued").limit(1)
            return session.scalar(queued) is not None

    def _set(self, job: Job, **values: str | float) -> None:
        with self._database.writing() as session:
            mine = (Generation.id == job.generation) & (Generation.claim == job.claim)
            session.execute(update(Generation).where(mine).values(made=now(), **values))


def preference(question: str, left: str, right: str, choice: str) -> Preference:
    """A choice between two sides as a preference."""
    chosen, rejected = (left, right) if choice == "left" else (right, left)
    return Preference(question, chosen, rejected)
