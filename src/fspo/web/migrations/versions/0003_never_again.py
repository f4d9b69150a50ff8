"""Ids and participants' numbers that are never used again; everybody signs in anew.

Until now SQLite gave a number that had become free to whoever came next, and a cookie named its key
by that number: whose cookie it is cannot be told any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBERED = ("api_keys", "study_participants", "study_items", "study_generations")


def upgrade() -> None:
    """Builds the tables anew on SQLite (`open_database` has put foreign keys aside)."""
    op.execute("DELETE FROM signed_in")
    if op.get_bind().dialect.name == "sqlite":
        for table in _NUMBERED:
            own = {"sqlite_autoincrement": True}
            with op.batch_alter_table(table, recreate="always", table_kwargs=own):
                pass
    begun = sa.Column("begun", sa.Integer, nullable=False, server_default="0")
    op.add_column("study_definitions", begun)
    most = "(SELECT coalesce(max(number) + 1, 0) FROM study_participants)"
    op.execute(f"UPDATE study_definitions SET begun = {most}")


def downgrade() -> None:
    """Drops the count; numbers that are not used again do no harm."""
    op.drop_column("study_definitions", "begun")
