"""Selections beside spaces, and measured times of networks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ONE_TIMING = ("network", "host", "device", "torch", "resolution", "batch", "precision", "measured")
TIMES = [f"{mode}_{part}" for mode in ("inference", "training") for part in ("ms", "low", "high")]


def upgrade() -> None:
    with op.batch_alter_table("spaces") as batch:
        batch.add_column(sa.Column("kind", sa.Text(), nullable=False, server_default="space"))
        batch.create_check_constraint(op.f("ck_spaces_kind"), "kind IN ('space', 'selection')")
    op.create_table(
        "timings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("torch", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in TIMES),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("others", sa.Double(), nullable=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("measured", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network"], ["networks.digest"], name="fk_timings_network_networks"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_timings"),
        sa.UniqueConstraint(*ONE_TIMING, name="uq_timings_one"),
    )


def downgrade() -> None:
    _refuse_to_lose("timings", "the older schema has no table timings")
    _refuse_to_lose("spaces WHERE kind = 'selection'", "the older schema knows no selections")
    op.drop_table("timings")
    with op.batch_alter_table("spaces") as batch:
        batch.drop_constraint(op.f("ck_spaces_kind"), type_="check")
        batch.drop_column("kind")


def _refuse_to_lose(rows: str, why: str) -> None:
    count = op.get_bind().execute(sa.text(f"SELECT count(*) FROM {rows}")).scalar()
    if count:
        raise RuntimeError(f"{why}: its {count} rows would go")
