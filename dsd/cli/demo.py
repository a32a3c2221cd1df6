"""`dsd demo`: the whole method on images that ship with dsd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab, Population

SPACES = ("anynetx_a", "anynetx_d", "regnetx")
REGIME = "fashion"


@click.command()
@click.option("-n", "--n", default=16, show_default=True, type=click.IntRange(1),
              help="Networks of each space.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Worker processes.  [one per core]")
@click.option("--folder", default="demo", show_default=True, type=click.Path(file_okay=False),
              help="Where the database and the figure go.")  # fmt: skip
@pass_lab
def demo(lab: Lab, n: int, jobs: int | None, folder: str) -> None:
    """Sample three spaces, train them on Fashion-MNIST, compare: minutes on a laptop.

    Ctrl-C and run again: it goes on where it stopped. The regime is always `fashion`, the database
    FOLDER/dsd.db.
    """
    from dsd.cli.edf import figure, show
    from dsd.lab import Lab
    from dsd.plot.files import save
    from dsd.settings import Settings
    from dsd.study import study_of
    from dsd.train.parallel import cores

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    lab = Lab(Settings(str(place / "dsd.db"), lab.settings.data, REGIME))
    populations = [_queued(lab, space, n) for space in SPACES]
    _train(lab, populations, place, jobs or cores())
    study = study_of(lab, SPACES)
    click.echo()
    show(study)
    for line in study.warnings():
        click.echo(line)
    drawn = save(figure(study), place / "edf.png")
    click.echo(f"\nWrote {drawn}; results are in {lab.settings.database}")


def _queued(lab: Lab, space: str, n: int) -> Population:
    drawn = lab.draw(space, n)
    saved = lab.keep(drawn)
    click.echo(f"{space}: {saved.added} queued, {saved.known} already known")
    return lab.population(space)


def _train(lab: Lab, populations: list[Population], place: Path, jobs: int) -> None:
    from dsd.cli.progress import progress
    from dsd.launch.crew import Crew
    from dsd.launch.local import train_all
    from dsd.store.queue import pending

    rows = [row for population in populations for row in population.rows]
    named = [part for row in rows for part in ("--space", row.name)]
    kept = ["--checkpoints", str(place / "checkpoints")]
    arguments = ["--exit-when-empty", "--db", lab.settings.db, *kept, *named]
    crew = Crew(arguments, [["--cpu"]] * jobs, place / "worker.log")
    left = pending(lab.store, [row.id for row in rows])
    if not left:
        click.echo(f"All {sum(row.size for row in rows)} networks are trained already.")
        return
    click.echo(f"Training {left} networks, {jobs} at a time; Ctrl-C stops, and running again "
               "goes on from there.")  # fmt: skip
    with progress(lab, rows) as tick:
        train_all(lab.store, [row.id for row in rows], crew, tick)
