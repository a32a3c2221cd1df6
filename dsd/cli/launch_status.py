"""`dsd launch status` and `dsd launch stop`: what was launched, and its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.launch.slurm import Job
    from dsd.store.fleet import WorkerAt


@click.command()
@click.argument("engine", type=click.Choice(["local", "slurm", "ray"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def status(lab: Lab, engine: str | None, as_json: bool) -> None:
    """The workers of the last day by host: alive, silent or stopped, and what they train.

    They are read from the database, whoever launched them; beside them stand Slurm's jobs, where
    this machine has Slurm.

    \b
        dsd launch status
        dsd launch status slurm
    """
    from dsd.store.fleet import workers_at

    workers = [one for one in workers_at(lab.reader) if not engine or one.engine == engine]
    jobs = _jobs(lab, engine)
    if as_json:
        from dataclasses import asdict

        told = [one.as_dict() for one in workers]
        click.echo(json.dumps({"workers": told, "jobs": [asdict(job) for job in jobs]}, indent=2))
        return
    for line in [*_workers(workers), *_hosts(workers), *_queue(jobs)]:
        click.echo(line)


@click.command()
@click.argument("engine", type=click.Choice(["local", "slurm", "ray"]), required=False)
@click.option("--wait", default=60.0, show_default=True, type=click.FloatRange(0),
              metavar="SECONDS", help="For workers to leave.")  # fmt: skip
@pass_lab
def stop(lab: Lab, engine: str | None, wait: float) -> None:
    """End what `dsd launch local` or `ray` started here, and this database's Slurm jobs.

    Workers are asked to leave: they give their networks back, checkpoints stay, nothing recorded is
    lost, and launching again goes on from there.

    \b
        dsd launch stop
        dsd launch stop slurm
    """
    from dsd.errors import DsdError

    lab.reader.close()  # says what to do where there is no database
    left = []
    if engine in (None, "local"):
        left += _stop_here(lab, "local", wait)
    if engine in (None, "ray"):
        left += _stop_here(lab, "ray", wait)
    if engine == "slurm" or (engine is None and _jobs(lab, engine)):
        left += _stop_slurm(lab, wait)
    if left:
        raise DsdError(f"Still there after {wait:g} s: {', '.join(left)}. Asked once more they may "
                       "leave; `kill -9` and `scancel` cost no results either.")  # fmt: skip


def _stop_here(lab: Lab, engine: str, wait: float) -> list[str]:
    from dsd.launch.running import launchers, starting, stop
    from dsd.store.fleet import workers_at
    from dsd.store.location import database_url

    known = [one.launched for one in workers_at(lab.reader, f"{engine} ", here=engine == "local")]
    pids = launchers([*known, *starting(database_url(lab.settings.db), engine)], engine)
    left = stop(pids, wait)
    stopped = f"{len(pids) - len(left)} launchers stopped"
    click.echo(f"{engine}: {stopped if pids else 'none runs here'}")
    return [f"process {pid}" for pid in left]


def _stop_slurm(lab: Lab, wait: float) -> list[str]:
    from dsd.launch.slurm import jobs, stop

    name = _name(lab)
    there = len(jobs(name))
    left = stop(name, wait) if there else []
    click.echo(f"slurm: {there - len(left)} jobs stopped" if there else "slurm: none is there")
    return [f"job {job.id}" for job in left]


def _jobs(lab: Lab, engine: str | None) -> list[Job]:
    from dsd.errors import DsdError
    from dsd.launch.slurm import jobs

    try:
        return jobs(_name(lab)) if engine == "slurm" or (not engine and _has_slurm()) else []
    except DsdError as error:
        if engine == "slurm":
            raise
        click.echo(f"Slurm's jobs are not known: {error}", err=True)
        return []


def _name(lab: Lab) -> str:
    from dsd.launch.slurm import job_name
    from dsd.store.location import database_url

    return job_name(database_url(lab.settings.db))


def _has_slurm() -> bool:
    import shutil

    return shutil.which("squeue") is not None


def _workers(workers: list[WorkerAt]) -> Iterator[str]:
    from dsd.cli.text import table_text
    from dsd.cli.worker_table import COLUMNS, LEFT, cells

    shown = [one for one in workers if one.state != "stopped"]
    if not shown:
        yield "No worker is at work."
        return
    rows = [[one.host, one.launched or f"by hand {one.pid}", *cells(one).values()] for one in shown]
    names = ["host", "worker", *COLUMNS]
    yield table_text(names, rows, left=[i for i, name in enumerate(names) if name in LEFT])


def _hosts(workers: list[WorkerAt]) -> Iterator[str]:
    """How many of each host's workers are in each state."""
    for host in sorted({one.host for one in workers}):
        states = [one.state for one in workers if one.host == host]
        counts = ", ".join(f"{states.count(s)} {s}" for s in ("alive", "silent", "stopped")
                           if s in states)  # fmt: skip
        yield f"{host}: {counts}"


def _queue(jobs: list[Job]) -> Iterator[str]:
    for job in jobs:
        where = f" on {job.nodes}" if job.nodes else ""
        why = f" ({job.reason})" if job.reason not in ("", "None") else ""
        yield f"slurm job {job.id}: {job.state.lower()}{where}{why}"
