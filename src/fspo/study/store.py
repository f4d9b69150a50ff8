"""The participant's side of the database: what comes next, and what is kept of each step.

The server alone decides which item is the current one. An answer is kept if it is to that item, and
ignored otherwise, so that reloading, going back or a second tab can neither lose nor double one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fspo.errors import FspoError
from fspo.study.assignment import assign
from fspo.study.definition import Study
from fspo.study.reading import Pools
from fspo.study.steps import Step, current_step
from fspo.study.tables import (
    Answer,
    AskedReply,
    Definition,
    Event,
    Generation,
    ItemRow,
    Participant,
    Recruitment,
)
from fspo.web.database import Database, now
from fspo.web.sessions import digest

Kept = Literal["kept", "ignored", "too_soon"]


@dataclass(frozen=True)
class Recruited:
    """The parameters of a recruitment platform's link; "" where there are none."""

    prolific_pid: str = ""
    study_id: str = ""
    session_id: str = ""


class Store:
    """One study in one database."""

    def __init__(self, database: Database, study: Study, pools: Mapping[str, Pools]) -> None:
        """Claims the database for this study.

        Raises:
            FspoError: if people have begun with a study that differs in what answers depend on.
        """
        self.database, self.study, self._pools = database, study, pools
        definition = json.dumps(study.model_dump(mode="json"), ensure_ascii=False)
        with database.writing() as session:
            last = session.scalar(select(Definition).order_by(Definition.id.desc()).limit(1))
            begun = session.scalar(select(func.count(Participant.id)))
            if last and begun and last.fingerprint != study.fingerprint():
                raise FspoError(
                    f"{study.name}: {begun} people have begun with another definition than this "
                    "one, in more than wording. Put the file back as it was, or take a new database"
                )
            if last is None or last.definition != definition:
                session.add(Definition(
                    fingerprint=study.fingerprint(),
                    definition=definition,
                    since=now(),
                    begun=last.begun if last else 0,
                ))  # fmt: skip

    def begin(self, token: str, language: str, recruited: Recruited) -> bool:
        """Takes somebody in; a second time, with the same token, changes nothing.

        Args:
            token: of the participant's link.
            language: one of the study's.
            recruited: who it is to a recruitment platform.

        Returns:
            False if the platform's participant has begun with another token.
        """
        moment = now()
        with self.database.writing() as session:
            # Where transactions run side by side, these rows let one in at a time.
            definitions = session.scalars(select(Definition).with_for_update()).all()
            if session.scalar(select(exists().where(Participant.token == digest(token)))):
                return True
            if recruited.prolific_pid and self._known(session, recruited):
                return False
            number = max(definition.begun for definition in definitions)
            for definition in definitions:
                definition.begun = number + 1
            participant = Participant(
                number=number,
                token=digest(token),
                language=language,
                begun=moment,
                seen=moment,
            )
            session.add(participant)
            session.flush()
            if recruited.prolific_pid:
                session.add(Recruitment(participant=participant.id, **vars(recruited)))
            self._assign(session, participant)
        return True

    def find(self, token: str) -> Participant | None:
        """Returns whose link this is."""
        with self.database.reading() as session:
            return session.scalar(select(Participant).where(Participant.token == digest(token)))

    def peek(self, participant: Participant) -> Step:
        """Returns where the participant is, without showing it."""
        with self.database.reading() as session:
            return current_step(session, participant)

    def step(self, participant: Participant) -> Step:
        """Returns where the participant is; an item shown for the first time is timed from now."""
        step = self.peek(participant)
        if step.kind == "item" and step.item is not None and step.item.shown is None:
            with self.database.writing() as session:
                unseen = (ItemRow.id == step.item.id) & ItemRow.shown.is_(None)
                session.execute(update(ItemRow).where(unseen).values(shown=now()))
        return step

    def go_on(self, participant: Participant, kind: str) -> None:
        """Leaves the instructions, or the introduction to the questions, if that is the step."""
        column = {"instructions": "instructed", "introduction": "introduced"}.get(kind)
        if column is None:
            return
        with self.database.writing() as session:
            own = session.get(Participant, participant.id, with_for_update=True)
            if own is not None and current_step(session, own).kind == kind:
                setattr(own, column, now())
                own.seen = now()

    def answer(self, participant: Participant, place: int, choice: str) -> Kept:
        """Keeps a choice, if it is about the current item and nothing has been kept of it."""
        try:
            with self.database.writing() as session:
                return self._answer(session, participant, place, choice)
        except IntegrityError:  # two tabs in the same moment: the first one counted
            return "ignored"

    def reply(self, participant: Participant, replies: Mapping[str, str]) -> None:
        """Keeps what was asked at the end, and finishes; a second time changes nothing."""
        with self.database.writing() as session:
            own = session.get(Participant, participant.id, with_for_update=True)
            if own is None or current_step(session, own).kind != "asks":
                return
            for name, value in replies.items():
                if value:
                    session.add(AskedReply(participant=own.id, name=name, value=value))
            own.finished = own.seen = now()

    def withdraw(self, participant: Participant) -> None:
        """Deletes everything about a participant; that somebody withdrew is kept, not who."""
        with self.database.writing() as session:
            own = session.get(Participant, participant.id)
            if own is not None:
                session.delete(own)
                session.add(Event(participant=None, kind="withdrew", at=now()))

    def _known(self, session: Session, recruited: Recruited) -> bool:
        same = Recruitment.prolific_pid == recruited.prolific_pid  # by whatever link
        return bool(session.scalar(select(exists().where(same))))

    def _assign(self, session: Session, participant: Participant) -> None:
        language = participant.language
        items = assign(self.study, self._pools[language], language, participant.number)
        rows = [ItemRow(participant=participant.id, **vars(item)) for item in items]
        session.add_all(rows)
        session.flush()
        self._queue(session, rows, knowing=False)

    def _queue(self, session: Session, rows: list[ItemRow], knowing: bool) -> None:
        """Asks for answers of the methods that know the participant, or of the others."""
        for row in rows:
            for method in filter(None, (row.left_method, row.right_method)):
                if (self.study.methods[method].answers != "plain") == knowing:
                    session.add(Generation(
                        item=row.id, method=method, urgent=knowing, queued=now()
                    ))  # fmt: skip

    def _answer(self, session: Session, participant: Participant, place: int, choice: str) -> Kept:
        own = session.get(Participant, participant.id, with_for_update=True)
        if own is None or choice not in ("left", "right"):
            return "ignored"
        step, moment = current_step(session, own), now()
        item = step.item
        if step.kind != "item" or item is None or item.place != place or item.shown is None:
            return "ignored"
        seconds = (moment - item.shown).total_seconds()
        own.seen = moment
        if seconds < 0:  # the clock was set back: the time is taken anew, from now
            item.shown = moment
        if seconds < self.study.limits.min_seconds:
            session.add(Event(participant=own.id, kind="too_soon", place=place, at=moment))
            return "too_soon"
        session.add(Answer(item=item.id, choice=choice, seconds=seconds, answered=moment))
        session.flush()
        if item.stage == "label" and step.number == step.of:
            self._labeled(session, own)
        return "kept"

    def _labeled(self, session: Session, participant: Participant) -> None:
        """All pairs are labeled: what knows the participant can be written, and is now urgent."""
        participant.labeled = now()
        judged = (ItemRow.participant == participant.id) & (ItemRow.stage == "judge")
        rows = list(session.scalars(select(ItemRow).where(judged).order_by(ItemRow.place)))
        waiting = Generation.item.in_([row.id for row in rows])
        session.execute(update(Generation).where(waiting).values(urgent=True))
        self._queue(session, rows, knowing=True)
