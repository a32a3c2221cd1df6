"""The first tables: spaces, regimes, networks, populations, runs, epochs and workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "networks",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_networks"),
    )
    op.create_table(
        "regimes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_regimes"),
        sa.UniqueConstraint("digest", name="uq_regimes_digest"),
        sa.UniqueConstraint("name", name="uq_regimes_name"),
    )
    op.create_table(
        "spaces",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spaces"),
        sa.UniqueConstraint("name", name="uq_spaces_name"),
    )
    op.create_table(
        "workers",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_start", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("versions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.Column("stopped", sa.Double(), nullable=True),
        sa.Column("images_per_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name="pk_workers"),
    )
    op.create_table(
        "populations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("regime_id", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("tally", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["regime_id"], ["regimes.id"], name="fk_populations_regime_id_regimes"
        ),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], name="fk_populations_space_id_spaces"),
        sa.PrimaryKeyConstraint("id", name="pk_populations"),
        sa.UniqueConstraint(
            "space_id", "regime_id", "seed", name="uq_populations_space_id_regime_id_seed"
        ),
    )
    op.create_index("ix_populations_regime_id", "populations", ["regime_id"])

    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("regime_id", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("forgiven", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("error_last", sa.Double(), nullable=True),
        sa.Column("error_lowest", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("provenance", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'diverged', 'failed', 'out-of-memory', "
            "'cancelled')",
            name=op.f("ck_runs_state"),
        ),
        sa.ForeignKeyConstraint(["network"], ["networks.digest"], name="fk_runs_network_networks"),
        sa.ForeignKeyConstraint(["owner"], ["workers.owner"], name="fk_runs_owner_workers"),
        sa.ForeignKeyConstraint(["regime_id"], ["regimes.id"], name="fk_runs_regime_id_regimes"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("regime_id", "seed", "network", name="uq_runs_regime_id_seed_network"),
    )
    op.create_index("ix_runs_lease", "runs", ["state", "lease_until"])
    op.create_index("ix_runs_network", "runs", ["network"])
    op.create_index("ix_runs_queue", "runs", ["state", "rank", "ordinal", "id"])

    op.create_table(
        "epochs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("train_error", sa.Double(), nullable=True),
        sa.Column("test_error", sa.Double(), nullable=True),
        sa.Column("test_error5", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("images_per_s", sa.Double(), nullable=True),
        sa.Column("lr", sa.Double(), nullable=True),
        sa.Column("peak_memory", sa.Double(), nullable=True),
        sa.Column("recorded", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_epochs_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "epoch", name="pk_epochs"),
    )
    op.create_table(
        "late_results",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("received", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_late_results_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "owner", name="pk_late_results"),
    )
    op.create_table(
        "members",
        sa.Column("population_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("draw", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("flops", sa.BigInteger(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("acts", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network"], ["networks.digest"], name="fk_members_network_networks"
        ),
        sa.ForeignKeyConstraint(
            ["population_id"],
            ["populations.id"],
            name="fk_members_population_id_populations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("population_id", "ordinal", name="pk_members"),
        sa.UniqueConstraint("population_id", "network", name="uq_members_population_id_network"),
    )
    op.create_index("ix_members_network", "members", ["network"])


def downgrade() -> None:
    op.drop_table("members")
    op.drop_table("late_results")
    op.drop_table("epochs")
    op.drop_table("runs")
    op.drop_table("populations")
    op.drop_table("workers")
    op.drop_table("spaces")
    op.drop_table("regimes")
    op.drop_table("networks")
