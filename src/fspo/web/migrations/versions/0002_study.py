"""The human study: definitions, participants, items, answers, and what is written for them."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _of(table: str, name: str, **options: bool) -> sa.Column[int]:
    key = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.Integer, key, **options)  # type: ignore[arg-type]


def _text(*names: str, length: int | None = None) -> list[sa.Column[str]]:
    kind = sa.String(length) if length else sa.Text()
    return [sa.Column(name, kind, nullable=False) for name in names]


def _moments(*names: str, nullable: bool = False) -> list[sa.Column[datetime]]:
    return [sa.Column(name, _MOMENT, nullable=nullable) for name in names]


def upgrade() -> None:
    """Makes the tables."""
    _people()
    _items()
    _around()


def _people() -> None:
    op.create_table(
        "study_definitions",
        _id(),
        *_text("fingerprint", length=64),
        *_text("definition"),
        *_moments("since"),
    )
    op.create_table(
        "study_researchers",
        sa.Column("name", sa.String(64), primary_key=True),
        *_text("password", length=256),
    )
    op.create_table(
        "study_participants",
        _id(),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        *_text("language", length=32),
        *_moments("begun", "seen"),
        *_moments("instructed", "labeled", "introduced", "finished", nullable=True),
    )
    op.create_table(
        "study_recruitment",
        _of("study_participants", "participant", primary_key=True),
        *_text("prolific_pid", "study_id", "session_id", length=256),
        sa.UniqueConstraint("prolific_pid", "study_id"),
    )


def _items() -> None:
    op.create_table(
        "study_items",
        _id(),
        _of("study_participants", "participant", nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        *_text("stage", length=16),
        *_text("question", "left", "right"),
        *_text("left_method", "right_method", length=64),
        *_text("right_choice", length=8),
        *_text("source", length=256),
        *_moments("shown", "skipped", nullable=True),
        sa.UniqueConstraint("participant", "place"),
    )
    op.create_table(
        "study_answers",
        _of("study_items", "item", primary_key=True),
        *_text("choice", length=8),
        sa.Column("seconds", sa.Float, nullable=False),
        *_moments("answered"),
    )
    op.create_table(
        "study_generations",
        _id(),
        _of("study_items", "item", nullable=False),
        *_text("method", length=64),
        sa.Column("state", sa.String(8), nullable=False, index=True),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        *_text("claim", length=64),
        *_text("text"),
        *_text("finish_reason", length=16),
        sa.Column("seconds", sa.Float, nullable=True),
        *_moments("queued"),
        *_moments("made", nullable=True),
        sa.UniqueConstraint("item", "method"),
    )


def _around() -> None:
    op.create_table(
        "study_descriptions",
        _of("study_participants", "participant", primary_key=True),
        sa.Column("method", sa.String(64), primary_key=True),
        *_text("text"),
    )
    op.create_table(
        "study_replies",
        _of("study_participants", "participant", primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        *_text("value"),
    )
    op.create_table(
        "study_events",
        _id(),
        _of("study_participants", "participant", nullable=True, index=True),
        *_text("kind", length=32),
        sa.Column("place", sa.Integer, nullable=True),
        *_moments("at"),
    )


def downgrade() -> None:
    """Drops the tables."""
    for table in ("events", "replies", "descriptions", "generations", "answers", "items",
                  "recruitment", "participants", "researchers", "definitions"):  # fmt: skip
        op.drop_table(f"study_{table}")
