"""The assistant's tables: API keys, profiles, and the choices in them."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fspo.web.database import NEVER_AGAIN, Base, Moment


class ApiKey(Base):
    """A key to the interface: its hash, and what may be done with it, for whom."""

    __tablename__ = "api_keys"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(256), unique=True)
    account: Mapped[str] = mapped_column(String(256))
    user: Mapped[str | None] = mapped_column(String(256))
    scopes: Mapped[str] = mapped_column(String(256))
    created: Mapped[datetime] = mapped_column(Moment)
    last_used: Mapped[date | None]


class ProfileRow(Base):
    """A user of an account, with the description that the model or the person wrote."""

    __tablename__ = "profiles"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account: Mapped[str] = mapped_column(String(256))
    user: Mapped[str] = mapped_column(String(256))
    description: Mapped[str] = mapped_column(Text)
    described_by: Mapped[str] = mapped_column(String(16))
    version: Mapped[int]
    created: Mapped[datetime] = mapped_column(Moment)


class ChoiceRow(Base):
    """One choice; `number` counts a profile's own, and a superseded one names what came after."""

    __tablename__ = "choices"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    profile: Mapped[str] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"))
    number: Mapped[int]
    prompt: Mapped[str] = mapped_column(Text)
    chosen: Mapped[str] = mapped_column(Text)
    rejected: Mapped[str] = mapped_column(Text)
    superseded_by: Mapped[str | None] = mapped_column(String(32))
    created: Mapped[datetime] = mapped_column(Moment)
