"""Profiles: what a user chose, newest last, and the description; all of it the user's own.

A choice that contradicts an older one (the same two answers to the same prompt, the other way
round) supersedes it: the older one is kept, marked, and no longer read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fspo.assistant.backend import Backend, Person
from fspo.assistant.tables import ChoiceRow, ProfileRow
from fspo.errors import FspoError
from fspo.preferences.records import Preference
from fspo.web.database import Database, now

MOST_CHOICES = 10_000
LONGEST_TEXT = 20_000  # characters, of one prompt, answer or description
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # what databases do not take


@dataclass(frozen=True)
class Choice:
    """One choice as it is kept; `superseded_by` is the id of the one that contradicts it."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    superseded_by: str | None
    created: datetime


@dataclass(frozen=True)
class Profile:
    """The record of one user.

    Attributes:
        key: random, and the same as long as the profile lives.
        user: the name that the application gave.
        description: of the user, or "".
        described_by: "model", "person", or "" where there is none.
        choices: all of them, oldest first.
        version: goes up with every change.
    """

    key: str
    user: str
    description: str = ""
    described_by: str = ""
    choices: tuple[Choice, ...] = ()
    version: int = 0

    def person(self) -> Person:
        """Returns what a backend is told: the choices that stand, and the description."""
        shots = [Preference(c.prompt, c.chosen, c.rejected) for c in self.choices if _stands(c)]
        return Person(self.key, tuple(shots), self.description)


class Profiles:
    """The profiles in a database, each found by its account and its user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def erased(self) -> bool:
        """Returns whether what was deleted is gone from the disk; else it soon goes."""
        return self._database.erased

    def get(self, account: str, user: str) -> Profile:
        """A user's profile; an empty one, which is not stored, where there is none.

        Raises:
            FspoError: if no user can have this name.
        """
        check_user(user)
        with self._database.reading() as session:
            row = session.scalar(_where(account, user))
            return _read(session, row) if row is not None else Profile("", user)

    def choose(
        self, account: str, user: str, prompt: str, chosen: str, rejected: str
    ) -> tuple[Choice, Choice | None]:
        """Adds a choice; the same one over again is not added twice.

        Returns:
            The choice, and the older one that it supersedes.

        Raises:
            FspoError: if a text is empty or too long, both answers are the same, or the profile is
                full.
        """
        check_choice(prompt, chosen, rejected)
        with self._writing(account, user) as (session, row):
            about = select(ChoiceRow).where(
                ChoiceRow.profile == row.id,
                ChoiceRow.superseded_by.is_(None),
                ChoiceRow.prompt == prompt,
            )
            standing = session.scalars(about.order_by(ChoiceRow.number)).all()
            for old in standing:
                if (old.chosen, old.rejected) == (chosen, rejected):
                    return _choice(old), None
            newest, count = session.execute(
                select(func.max(ChoiceRow.number), func.count()).where(ChoiceRow.profile == row.id)
            ).one()
            if count >= MOST_CHOICES:
                raise FspoError(f"this profile holds {count} choices, and can hold no more")
            new = ChoiceRow(
                id=uuid4().hex,
                profile=row.id,
                number=(newest or 0) + 1,
                prompt=prompt,
                chosen=chosen,
                rejected=rejected,
                created=now(),
            )
            session.add(new)
            against = [o for o in standing if (o.chosen, o.rejected) == (rejected, chosen)]
            for old in against:
                old.superseded_by = new.id
            _changed(row)
            session.flush()
            return _choice(new), _choice(against[0]) if against else None

    def withdraw(self, account: str, user: str, choice: str) -> bool:
        """Deletes one choice; what it had superseded stands again. False if there is none such."""
        with self._writing(account, user) as (session, row):
            found = session.get(ChoiceRow, choice)
            if found is None or found.profile != row.id:
                return False
            for old in session.scalars(select(ChoiceRow).where(ChoiceRow.superseded_by == choice)):
                old.superseded_by = found.superseded_by
            session.delete(found)
            _changed(row)
            return True

    def describe(
        self, account: str, user: str, description: str, by: str, version: int | None = None
    ) -> Profile:
        """Sets the description.

        Args:
            account: whose users.
            user: who is described.
            description: the text; "" takes it away, so that the model may write one again.
            by: "person" or "model"; the model never replaces what a person wrote.
            version: of the profile that the model described; after a change it is not taken.

        Raises:
            FspoError: if it is too long.
        """
        check_text("description", description)
        with self._writing(account, user) as (session, row):
            late = version is not None and version != row.version
            if by == "person" or not (late or row.described_by == "person"):
                row.description = description.strip()
                row.described_by = by if row.description else ""
                row.version += 1
            session.flush()
            return _read(session, row)

    def person(self, account: str, profile: Profile, backend: Backend) -> Person:
        """Returns who is answered, described by the model first where it can and nobody has."""
        person = profile.person()
        if person.description or not person.shots or not backend.abilities.describes:
            return person
        told = backend.describe(person)
        by = (account, profile.user, told, "model", profile.version)
        return self.describe(*by).person() if told else person

    def bring(
        self, account: str, user: str, description: str, by: str, choices: Sequence[Choice]
    ) -> Profile:
        """Replaces a user's whole profile, by choices with ids of their own."""
        with self._writing(account, user) as (session, row):
            session.execute(delete(ChoiceRow).where(ChoiceRow.profile == row.id))
            for number, choice in enumerate(choices, 1):
                session.add(ChoiceRow(profile=row.id, number=number, **asdict(choice)))
            row.description, row.described_by = description, by
            row.version += 1
            session.flush()
            return _read(session, row)

    def delete(self, account: str, user: str) -> str | None:
        """Deletes a profile for good; gives the key that it had, if there was one."""
        with self._database.writing() as session:
            row = session.scalar(_where(account, user))
            if row is None:
                return None
            session.execute(delete(ChoiceRow).where(ChoiceRow.profile == row.id))
            session.delete(row)
            key: str = row.id
        return key

    @contextmanager
    def _writing(self, account: str, user: str) -> Iterator[tuple[Session, ProfileRow]]:
        """A transaction on one profile, which is made if need be and locked until the end."""
        check_user(user)
        self._make(account, user)
        with self._database.writing() as session:
            row = session.scalar(_where(account, user).with_for_update())
            if row is None:  # deleted in between
                row = _new(account, user)
                session.add(row)
                session.flush()
            yield session, row

    def _make(self, account: str, user: str) -> None:
        with self._database.reading() as session:
            if session.scalar(_where(account, user)) is not None:
                return
        try:
            with self._database.writing() as session:
                session.add(_new(account, user))
        except IntegrityError:
            pass  # another request has made it


def _new(account: str, user: str) -> ProfileRow:
    return ProfileRow(
        id=uuid4().hex,
        account=account,
        user=user,
        description="",
        described_by="",
        version=0,
        created=now(),
    )


def _where(account: str, user: str) -> Any:
    return select(ProfileRow).where(ProfileRow.account == account, ProfileRow.user == user)


def _changed(row: ProfileRow) -> None:
    """Other choices: what the model wrote of the user is out of date, a person's words are not."""
    row.version += 1
    if row.described_by == "model":
        row.description = row.described_by = ""


def _read(session: Session, row: ProfileRow) -> Profile:
    rows = session.scalars(
        select(ChoiceRow).where(ChoiceRow.profile == row.id).order_by(ChoiceRow.number)
    )
    choices = tuple(map(_choice, rows))
    return Profile(row.id, row.user, row.description, row.described_by, choices, row.version)


def _choice(row: ChoiceRow) -> Choice:
    return Choice(row.id, row.prompt, row.chosen, row.rejected, row.superseded_by, row.created)


def _stands(choice: Choice) -> bool:
    return choice.superseded_by is None


def check_choice(prompt: str, chosen: str, rejected: str) -> None:
    """Raises FspoError unless these can be kept as a choice."""
    for name, value in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
        check_text(name, value)
        if name != "prompt" and not value.strip():
            raise FspoError(f"{name}: is empty")
    if chosen == rejected:
        raise FspoError("chosen, rejected: the two answers are the same")


def check_user(user: str) -> None:
    """Raises FspoError unless a user can have this name."""
    if not 1 <= len(user) <= 256:
        raise FspoError("user: a name of 1 to 256 characters")
    check_text("user", user)


def check_text(name: str, value: str) -> None:
    """Raises FspoError, which names the field, unless a text can be kept."""
    if len(value) > LONGEST_TEXT:
        raise FspoError(f"{name}: {len(value)} characters; at most {LONGEST_TEXT}")
    if _NO_TEXT.search(value):
        raise FspoError(f"{name}: holds a null character, or half of one")
