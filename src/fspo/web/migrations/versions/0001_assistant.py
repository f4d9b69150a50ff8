"""Signed-in sessions; the assistant's keys, profiles and choices."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "signed_in",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("room", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("expires", _MOMENT, nullable=False, index=True),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(256), nullable=False, unique=True),
        sa.Column("account", sa.String(256), nullable=False),
        sa.Column("user", sa.String(256), nullable=True),
        sa.Column("scopes", sa.String(256), nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("last_used", sa.Date, nullable=True),
    )
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("account", sa.String(256), nullable=False),
        sa.Column("user", sa.String(256), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("described_by", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.UniqueConstraint("account", "user"),
    )
    op.create_table(
        "choices",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "profile",
            sa.String(32),
            sa.ForeignKey("profiles.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("chosen", sa.Text, nullable=False),
        sa.Column("rejected", sa.Text, nullable=False),
        sa.Column("superseded_by", sa.String(32), nullable=True),
        sa.Column("created", _MOMENT, nullable=False),
        sa.UniqueConstraint("profile", "number"),
    )


def downgrade() -> None:
    """Drops the tables."""
    for table in ("choices", "profiles", "api_keys", "signed_in"):
        op.drop_table(table)
