"""Alembic's entry: on the connection that dsd hands over, or from the command line on its own."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from dsd.store.schema import Base


def migrate(connection: Connection) -> None:
    """Run inside the caller's transaction, so that a failing migration leaves nothing behind."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def command_line() -> None:
    """The database that the environment or `-x url=` names, foreign keys not enforced."""
    from dsd.store.connect import database_engine
    from dsd.store.location import database_url

    given = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("DSD_DB")
    engine = database_engine(database_url(given or "dsd.db"), foreign_keys=False)
    with engine.begin() as connection:
        migrate(connection)


if context.is_offline_mode():
    raise SystemExit("dsd's migrations need a database: run them without --sql.")
handed_over = context.config.attributes.get("connection")
if handed_over is None:
    command_line()
else:
    migrate(handed_over)
