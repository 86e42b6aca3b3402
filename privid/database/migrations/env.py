"""Runs the migrations on the connection that the caller has opened and will commit."""

from alembic import context

from privid.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
