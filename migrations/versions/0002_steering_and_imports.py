"""Imported populations, notes and tags; populations that are paused and runs held back by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ABOUT = {"population": "populations", "run": "runs", "import": "imports"}
ONE_SUBJECT = (
    "CASE WHEN population_id IS NULL THEN 0 ELSE 1 END + "
    "CASE WHEN run_id IS NULL THEN 0 ELSE 1 END + "
    "CASE WHEN import_id IS NULL THEN 0 ELSE 1 END = 1"
)


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("tally", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
        sa.UniqueConstraint("name", name="uq_imports_name"),
    )
    op.create_table(
        "import_rows",
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error_last", sa.Double(), nullable=True),
        sa.Column("error_lowest", sa.Double(), nullable=True),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("curve", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.id"],
            name="fk_import_rows_import_id_imports",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("import_id", "ordinal", name="pk_import_rows"),
    )
    op.create_table(
        "notes",
        sa.Column("id", sa.Integer(), nullable=False),
        *_subject("notes"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
    )
    for one in ABOUT:
        op.create_index(f"ix_notes_{one}_id", "notes", [f"{one}_id"])
    op.create_table(
        "tags",
        sa.Column("id", sa.Integer(), nullable=False),
        *_subject("tags"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        *(sa.UniqueConstraint(f"{o}_id", "name", name=f"uq_tags_{o}_id_name") for o in ABOUT),
    )
    with op.batch_alter_table("populations") as batch:
        batch.add_column(_flag("paused"))
    with op.batch_alter_table("runs") as batch:
        batch.add_column(_flag("held"))
        batch.drop_index("ix_runs_queue")
        batch.create_index("ix_runs_queue", ["state", "held", "rank", "ordinal", "id"])


def downgrade() -> None:
    _refuse_to_lose("imports", "notes", "tags")
    with op.batch_alter_table("runs") as batch:
        batch.drop_index("ix_runs_queue")
        batch.create_index("ix_runs_queue", ["state", "rank", "ordinal", "id"])
        batch.drop_column("held")
    with op.batch_alter_table("populations") as batch:
        batch.drop_column("paused")
    for table in ("tags", "notes", "import_rows", "imports"):
        op.drop_table(table)


def _subject(table: str) -> list[sa.Column[int] | sa.Constraint]:
    """The columns of which exactly one says what a row of `table` is about."""
    columns = [sa.Column(f"{one}_id", sa.Integer(), nullable=True) for one in ABOUT]
    keys = [
        sa.ForeignKeyConstraint(
            [f"{one}_id"],
            [f"{parent}.id"],
            name=f"fk_{table}_{one}_id_{parent}",
            ondelete="CASCADE",
        )
        for one, parent in ABOUT.items()
    ]
    return [*columns, *keys, sa.CheckConstraint(ONE_SUBJECT, name=op.f(f"ck_{table}_subject"))]


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _refuse_to_lose(*tables: str) -> None:
    for table in tables:
        rows = op.get_bind().execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()
        if rows:
            raise RuntimeError(f"the older schema has no table {table}: its {rows} rows would go")
