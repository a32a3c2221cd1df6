"""`dsd status`: how far everything is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.store.results import Status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def status(lab: Lab, as_json: bool) -> None:
    """Populations by state, workers, speed and the time left.

    \b
        dsd status
    """
    found = lab.status()
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found)


def _show(found: Status) -> None:
    from dsd.cli.text import duration, table
    from dsd.store.schema import STATES

    seen = [s for s in STATES if any(p.states.get(s) for p in found.populations)] or ["queued"]
    rows = [
        [f"{p.space}@{p.regime}#{p.seed}", str(p.size), *(str(p.states.get(s, 0)) for s in seen)]
        for p in found.populations
    ]
    table(["population", "networks", *seen], rows)
    for worker in found.workers:
        speed = f", {worker.images_per_s:,.0f} images/s" if worker.images_per_s else ""
        heard = f"heard of {worker.heartbeat_age:.0f} s ago, {worker.running} running{speed}"
        click.echo(f"worker {worker.owner} on {worker.device}: {heard}")
    if found.eta_seconds:
        click.echo(f"about {duration(found.eta_seconds)} left with the workers at work now")
    elif any(p.states.get("queued") for p in found.populations) and not found.workers:
        click.echo("nobody is training: run `dsd worker --gpu 0` or `dsd worker --cpu`")
