"""Runs the steps in the transaction that `open_database` began."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
