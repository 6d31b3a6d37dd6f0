"""Alembic's entry: runs the migrations on the connection that `handoff.store.upgrade` hands over."""

from alembic import context

from handoff.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's DDL is transactional too, once we say BEGIN ourselves
)
with context.begin_transaction():
    context.run_migrations()
