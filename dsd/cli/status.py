"""`dsd status`: how far everything is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.store.results import Status


@click.command()
@click.option("--watch", is_flag=False, flag_value=2.0, default=None, type=click.FloatRange(0.2),
              metavar="[SECONDS]", help="Show it again every so often, until Ctrl-C.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def status(lab: Lab, watch: float | None, as_json: bool) -> None:
    """Populations by state, workers, speed and the time left.

    With --watch on a terminal the table is redrawn in place; elsewhere it is printed anew.

    \b
        dsd status
        dsd status --watch 5
    """
    if watch is not None:
        _watch(lab, watch, as_json)
    else:
        click.echo(_text(lab, as_json))


def _text(lab: Lab, as_json: bool) -> str:
    found = lab.status()
    return json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(lines(found))


def _watch(lab: Lab, every_s: float, as_json: bool) -> None:
    """Show the status until an interrupt; a database that is away for a while is waited for."""
    from dsd.store.engine import DatabaseUnavailable

    in_place = sys.stdout.isatty() and not as_json
    lab.status()  # what is wrong from the start ends the command
    try:
        while True:
            try:
                shown = _text(lab, as_json)
            except DatabaseUnavailable as error:
                shown = f"waiting: {error}"
            if in_place:
                click.clear()
                shown = f"{time.strftime('%H:%M:%S')}, every {every_s:g} s, Ctrl-C leaves\n{shown}"
            click.echo(shown)
            sys.stdout.flush()
            time.sleep(every_s)
    except KeyboardInterrupt:
        return


def lines(found: Status) -> Iterator[str]:
    """The status as lines of text."""
    from dsd.cli.text import duration, table_text
    from dsd.store.schema import STATES
    from dsd.store.state import STALE_S

    seen = [s for s in STATES if any(p.states.get(s) for p in found.populations)] or ["queued"]
    rows = [
        [
            p.name + " (selection)" * (p.kind == "selection") + " (paused)" * p.paused,
            str(p.size),
            *(str(p.states.get(s, 0)) for s in seen),
        ]
        for p in found.populations
    ]
    yield table_text(["population", "networks", *seen], rows)
    for one in found.imports:
        yield f"import {one.name}: {one.size} networks, regime {one.regime!r}"
    for worker in found.workers:
        speed = f", {worker.images_per_s:,.0f} images/s" if worker.images_per_s else ""
        silent = " (silent: hanging or gone)" if worker.heartbeat_age > STALE_S else ""
        heard = f"heard of {worker.heartbeat_age:.0f} s ago{silent}, {worker.running} running"
        yield f"worker {worker.owner} on {worker.device}: {heard}{speed}"
    if found.late_results:
        yield f"{found.late_results} late results are kept apart (`dsd runs RUN` shows them)"
    if any(p.states.get(state) for p in found.populations for state in ("failed", "out-of-memory")):
        yield "some failed: `dsd runs --state failed --state out-of-memory`, then `dsd retry`"
    if found.eta_seconds:
        yield f"about {duration(found.eta_seconds)} left with the workers at work now"
    elif any(p.states.get("queued") and not p.paused for p in found.populations) and not any(
        worker.heartbeat_age <= STALE_S for worker in found.workers
    ):
        yield "nobody is training: run `dsd worker --gpu 0` or `dsd worker --cpu`"
