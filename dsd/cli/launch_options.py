"""What every `dsd launch` command hands through to its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dsd.cli.options import reader_option

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.store.populations import PopulationRow

F = TypeVar("F", bound=Callable[..., Any])


def worker_options(command: F) -> F:
    """Add --space, --max-attempts, --checkpoints and --reader."""
    for option in (
        reader_option,
        click.option("--checkpoints", metavar="DIR",
                     help="Folder of networks in mid-training.  [dsd.toml, else checkpoints]"),
        click.option("--max-attempts", default=3, show_default=True, type=click.IntRange(1),
                     help="Starts of one network before it counts as failed."),
        click.option("--space", "references", multiple=True, metavar="POPULATION",
                     help="Only these populations (space[@regime][#seed]); repeatable."),
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True)
class Work:
    """What is to be trained, `left` networks of the populations `rows`; `chosen` are their names
    where they were asked for; `arguments` make a `dsd worker` train just that."""

    rows: Sequence[PopulationRow]
    chosen: Sequence[str]
    left: int
    arguments: Sequence[str]

    @property
    def ids(self) -> list[int]:
        """The populations' ids."""
        return [row.id for row in self.rows]


def work_of(
    lab: Lab, references: Sequence[str], max_attempts: int, checkpoints: str | None
) -> Work:
    """The work that the options describe; the database's URL is not among the arguments."""
    from dsd.store.populations import populations, resolve
    from dsd.store.queue import pending

    settings = lab.settings
    chosen = [row for name in references for row in resolve(lab.reader, name, settings.regime_name)]
    rows = chosen or populations(lab.reader)
    left = pending(lab.reader, [row.id for row in rows])
    names = [row.name for row in chosen]
    kept = settings.checkpoints if checkpoints is None else checkpoints
    return Work(rows, names, left, [
        "--exit-when-empty", "--data", settings.data, "--regime", settings.regime,
        "--max-attempts", str(max_attempts), "--checkpoints", kept, "--reader", settings.reader,
        *(part for name in names for part in ("--space", name)),
    ])  # fmt: skip
