"""The tables: what was declared, drawn, queued, trained, timed, imported and noted.

Times are Unix seconds.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    and_,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STATES = ("queued", "running", "done", "diverged", "failed", "out-of-memory", "cancelled")
_STATE_LIST = ", ".join(f"'{state}'" for state in STATES)
_BIG = BigInteger()


class Base(DeclarativeBase):
    """Every constraint is named by rule, so that a migration can name what it changes."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it, nobody writes it)
        str: Text(),
        float: Double(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class Space(Base):
    """Where networks come from: a declared space, or a selection. A name never changes meaning.

    A selection's text says which networks were chosen, how and from what; its populations are its
    repeats, each of which trains all of them under a seed of its own.
    """

    __tablename__ = "spaces"
    __table_args__ = (CheckConstraint("kind IN ('space', 'selection')", name="kind"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    text: Mapped[str]
    digest: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="space")


class Regime(Base):
    """Conditions of training. One meaning has one name: runs are shared by meaning."""

    __tablename__ = "regimes"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    text: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)


class Network(Base):
    """A network by the digest of its canonical JSON; stored once, whoever drew it."""

    __tablename__ = "networks"
    digest: Mapped[str] = mapped_column(primary_key=True)
    canonical: Mapped[str]


class Population(Base):
    """The networks drawn from one space under one regime with one seed.

    While it is `paused` none of its networks is claimed, unless another population wants it.
    """

    __tablename__ = "populations"
    __table_args__ = (UniqueConstraint("space_id", "regime_id", "seed"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    space_id: Mapped[int] = mapped_column(ForeignKey("spaces.id"))
    regime_id: Mapped[int] = mapped_column(ForeignKey("regimes.id"), index=True)
    seed: Mapped[int] = mapped_column(_BIG)
    tally: Mapped[dict[str, Any]]
    created: Mapped[float]
    paused: Mapped[bool] = mapped_column(server_default=false())


class Member(Base):
    """The ordinal-th network (from 0) of a population, with what was drawn and what it costs.

    Cost stands here because it depends on the regime's resolution, not on the network alone. The
    member's run is the one of its network under the population's regime and seed.
    """

    __tablename__ = "members"
    __table_args__ = (UniqueConstraint("population_id", "network"),)
    population_id: Mapped[int] = mapped_column(
        ForeignKey("populations.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(ForeignKey("networks.digest"), index=True)
    draw: Mapped[dict[str, Any]]
    flops: Mapped[int] = mapped_column(_BIG)
    params: Mapped[int] = mapped_column(_BIG)
    acts: Mapped[int] = mapped_column(_BIG)


class Run(Base):
    """One training of one network under one regime with one seed.

    `attempts` counts claims, never falls, and is the fencing token; `forgiven` are the attempts
    that do not count against a limit. `ordinal` is the lowest among the populations that share it.
    It is `held` back while every population that shares it is paused.
    """

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("regime_id", "seed", "network"),
        CheckConstraint(f"state IN ({_STATE_LIST})", name="state"),
        Index("ix_runs_queue", "state", "held", "rank", "ordinal", "id"),
        Index("ix_runs_lease", "state", "lease_until"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(ForeignKey("networks.digest"), index=True)
    regime_id: Mapped[int] = mapped_column(ForeignKey("regimes.id"))
    seed: Mapped[int] = mapped_column(_BIG)
    state: Mapped[str]
    held: Mapped[bool] = mapped_column(server_default=false())
    rank: Mapped[int]  # minus the priority: one ascending index then serves the claim
    ordinal: Mapped[int]
    attempts: Mapped[int]
    forgiven: Mapped[int]
    owner: Mapped[str | None] = mapped_column(ForeignKey("workers.owner"))
    lease_until: Mapped[float | None]
    started: Mapped[float | None]
    finished: Mapped[float | None]
    seconds: Mapped[float | None]
    error_last: Mapped[float | None]
    error_lowest: Mapped[float | None]
    message: Mapped[str | None]
    trace: Mapped[str | None]
    provenance: Mapped[dict[str, Any] | None]


class Epoch(Base):
    """One epoch (from 1) of one attempt; a superseded attempt's epochs stay."""

    __tablename__ = "epochs"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    train_loss: Mapped[float | None]
    train_error: Mapped[float | None]
    test_error: Mapped[float | None]
    test_error5: Mapped[float | None]
    seconds: Mapped[float | None]
    images_per_s: Mapped[float | None]
    lr: Mapped[float | None]
    peak_memory: Mapped[float | None]
    recorded: Mapped[float]


class Worker(Base):
    """One process that claims runs; `boot` and `process_start` tell it from a later namesake."""

    __tablename__ = "workers"
    owner: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    boot: Mapped[str]
    pid: Mapped[int]
    process_start: Mapped[str]
    device: Mapped[str]
    versions: Mapped[dict[str, Any]]
    started: Mapped[float]
    heartbeat: Mapped[float]
    stopped: Mapped[float | None]
    images_per_s: Mapped[float | None]


class LateResult(Base):
    """What a worker reported after its lease was lost: kept, never counted."""

    __tablename__ = "late_results"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    received: Mapped[float]
    state: Mapped[str]
    result: Mapped[dict[str, Any]]


class Import(Base):
    """A population trained elsewhere; `label` says under which conditions, as a regime does."""

    __tablename__ = "imports"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    label: Mapped[str]
    kind: Mapped[str]
    source: Mapped[str]
    digest: Mapped[str]
    tally: Mapped[dict[str, Any]]
    created: Mapped[float]


class ImportRow(Base):
    """The ordinal-th network (from 0) of an import: its errors and whatever else is known of it."""

    __tablename__ = "import_rows"
    import_id: Mapped[int] = mapped_column(
        ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    error_last: Mapped[float | None]
    error_lowest: Mapped[float | None]
    properties: Mapped[dict[str, Any]]
    curve: Mapped[list[Any] | None]


_ONE_TIMING = ("network", "host", "device", "torch", "resolution", "batch", "precision", "measured")


class Timing(Base):
    """Milliseconds that one batch takes a network on a device: median and quartiles.

    Null where it was not measured: the device lacks the memory. `others` is how many cores other
    processes kept busy meanwhile. Measuring again adds a row; the latest one counts.
    """

    __tablename__ = "timings"
    __table_args__ = (UniqueConstraint(*_ONE_TIMING, name="uq_timings_one"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(ForeignKey("networks.digest"))
    device: Mapped[str]
    torch: Mapped[str]
    resolution: Mapped[int]
    batch: Mapped[int]
    precision: Mapped[str]
    inference_ms: Mapped[float | None]
    inference_low: Mapped[float | None]
    inference_high: Mapped[float | None]
    training_ms: Mapped[float | None]
    training_low: Mapped[float | None]
    training_high: Mapped[float | None]
    samples: Mapped[int]
    others: Mapped[float | None]
    host: Mapped[str]
    measured: Mapped[float]


_ABOUT = ("population_id", "run_id", "import_id")
_ONE_SUBJECT = " + ".join(f"CASE WHEN {key} IS NULL THEN 0 ELSE 1 END" for key in _ABOUT) + " = 1"


class Note(Base):
    """What somebody wrote about one population, one run or one import."""

    __tablename__ = "notes"
    __table_args__ = (CheckConstraint(_ONE_SUBJECT, name="subject"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    population_id: Mapped[int | None] = mapped_column(
        ForeignKey("populations.id", ondelete="CASCADE"), index=True
    )
    run_id: Mapped[int | None] = mapped_column(
        ForeignKey("runs.id", ondelete="CASCADE"), index=True
    )
    import_id: Mapped[int | None] = mapped_column(
        ForeignKey("imports.id", ondelete="CASCADE"), index=True
    )
    text: Mapped[str]
    author: Mapped[str]
    created: Mapped[float]


class Tag(Base):
    """A word that marks one population, one run or one import."""

    __tablename__ = "tags"
    __table_args__ = (
        CheckConstraint(_ONE_SUBJECT, name="subject"),
        *(UniqueConstraint(key, "name") for key in _ABOUT),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    population_id: Mapped[int | None] = mapped_column(
        ForeignKey("populations.id", ondelete="CASCADE")
    )
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    import_id: Mapped[int | None] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    name: Mapped[str]


# A member's run: the one of its network under its population's regime and seed.
MEMBER_RUN = and_(
    Run.regime_id == Population.regime_id,
    Run.seed == Population.seed,
    Run.network == Member.network,
)
