"""`dsd enqueue`: train chosen networks again, longer and several times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.select import Enqueued
    from dsd.space.selection import Selection


@click.command()
@click.argument("subject", required=False, metavar="[POPULATION|NETWORK|SELECTION]")
@click.option("--top", type=click.IntRange(1), metavar="K",
              help="The K networks of POPULATION with the lowest errors.")  # fmt: skip
@click.option("--run", "runs", multiple=True, type=click.IntRange(1), metavar="ID",
              help="The network of this run; repeatable.")  # fmt: skip
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1, 1000),
              help="Trainings of each network that there shall be.")  # fmt: skip
@click.option("--where", default="", metavar="EXPR",
              help="With --top: only networks that meet this, such as 'ordinal < 25'.",
              )  # fmt: skip
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="With --top: the error that ranks.")  # fmt: skip
@click.option("--name", default="", help="What the selection is called.  [top25/anynetx_d]")
@click.option("--priority", default=0, show_default=True,
              type=click.IntRange(-(2**31) + 1, 2**31 - 1),
              help="Higher is trained earlier.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def enqueue(
    lab: Lab, subject: str | None, top: int | None, runs: tuple[int, ...], repeats: int,
    where: str, metric: str, name: str, priority: int, as_json: bool,
) -> None:  # fmt: skip
    """Queue the best networks of a population, or single ones, under the regime of --regime.

    They become a selection of its own name; each of its repeats is a population of one seed
    (top25/anynetx_d@imagenet_400mf_100ep#3). `dsd summary` gives mean and spread over the repeats.

    \b
        dsd enqueue --top 25 anynetx_d@fashion --regime longer --repeats 5
        dsd enqueue regnetx-400mf --regime imagenet_400mf_100ep
        dsd enqueue --run 17 --repeats 3
    """
    from dsd.select import enqueue as queue_all

    if (subject is None) == (not runs) or (top and runs):
        raise click.UsageError("Name a network or a selection, or --top K of a POPULATION, or "
                               "--run ID.")  # fmt: skip
    if (where or metric != "last") and not top:
        raise click.UsageError("--where and --metric are for --top K.")
    lab.upgrade()
    selection, waiting = _chosen(lab, subject or "", top, runs, where, metric, name)
    done = queue_all(lab, selection, "", repeats, priority)
    if as_json:
        said = {"name": selection.name, "regime": done.regime, "seeds": done.seeds,
                "networks": done.networks, "outside_band": done.outside,
                "origin": selection.origin, "saved": [asdict(one) for one in done.saved],
                "unfinished": waiting}  # fmt: skip
        click.echo(json.dumps(said, indent=2))
    for line in _report(done, waiting):
        click.echo(line, err=as_json or line.startswith("Warning"))


def _chosen(
    lab: Lab, subject: str, top: int | None, runs: tuple[int, ...], where: str, metric: str,
    name: str,
) -> tuple[Selection, int]:  # fmt: skip
    """The selection, and how many of the networks it was chosen from are unfinished."""
    from dataclasses import replace

    from dsd.select import best_of, named_selection, of_runs

    if top:
        return best_of(lab, subject, top, metric, where, name)
    if runs:
        return of_runs(lab, runs, name), 0
    selection = named_selection(lab, subject)
    return (replace(selection, name=name) if name else selection), 0


def _report(done: Enqueued, waiting: int) -> Iterator[str]:
    from dsd.cli.regimes import band_text
    from dsd.regime import load_regime
    from dsd.space.selection import in_words

    place = f"{done.selection.name}@{done.regime}"
    seeds = ", ".join(f"#{seed}" for seed in done.seeds)
    many = f"{done.networks} network{'s'[: done.networks != 1]}"
    yield f"{place}: {many}, {in_words(done.selection.origin)}"
    added = sum(one.added - one.reused for one in done.saved)
    shared = sum(one.reused for one in done.saved)
    with_others = f", {shared} shared with another population" * bool(shared)
    known = sum(one.known for one in done.saved)
    yield f"  repeats {seeds}: {added} queued, {known} already known{with_others}"
    if done.adapted:
        yield f"  stem, classes and strides are those of {done.regime}"
    if done.outside:
        band = band_text(load_regime(done.regime))
        yield (f"Warning: {done.outside} of {done.networks} networks lie outside the band of "
               f"{done.regime} ({band}); a selection is no sample: they are trained all the "
               "same.")  # fmt: skip
    if waiting:
        yield (f"Warning: {waiting} networks that it was chosen from are unfinished: the best of "
               "all may be among them.")  # fmt: skip
