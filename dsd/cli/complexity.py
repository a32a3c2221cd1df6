"""`dsd complexity`: what predicts the time that a network takes?"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab
    from dsd.plot.files import Figure

SECONDS = "seconds"
UNITS = {"flops": (1e6, "flops (M)"), "params": (1e6, "params (M)"), "acts": (1e6, "acts (M)")}
AXES = {SECONDS: "time of training (s)", "inference_ms": "inference (ms a batch)",
        "training_ms": "training step (ms a batch)"}  # fmt: skip


@click.command()
@click.argument("population")
@click.argument("columns", nargs=-1)
@click.option("--against", default=SECONDS, show_default=True, metavar="COLUMN",
              help="What is to be predicted; seconds is the time of training.")  # fmt: skip
@click.option("--time", "mode", type=click.Choice(["inference", "training"]),
              help="Predict a batch's milliseconds as `dsd time` measured them.")  # fmt: skip
@click.option("--device", default="", metavar="TEXT",
              help="Times of the device (or torch version, batch) whose name has this in it.",
              )  # fmt: skip
@answering("where", "confidence")
def complexity(
    lab: Lab, population: str, columns: tuple[str, ...], against: str, mode: str | None,
    device: str, where: str, confidence: float, form: Form,
) -> None:  # fmt: skip
    """Correlate COLUMNS (flops, params, acts) of POPULATION with a time.

    Without --time it is the time of a network's training, which compares only where all were
    trained on one kind of device that did nothing else.

    \b
        dsd complexity anynetx_a --time inference --plot
        dsd complexity anynetx_a d 'acts / flops' --against error
    """
    import numpy as np

    from dsd.analysis.correlation import FEWEST, correlation
    from dsd.errors import DsdError
    from dsd.where import values

    if device and not mode:
        raise click.UsageError("--device is for --time inference or --time training.")
    if mode:
        table, regime, how = _timed(lab, population, where, device)
        against = f"{mode}_ms"
    else:
        table, regime, how = _trained(lab, population, where)
        if against == SECONDS and SECONDS not in table:
            raise click.UsageError(
                f"{population} has no seconds of training; name what to predict by --against."
            )
    y = values(table, against, "--against")
    known = int(np.isfinite(y).sum())
    if known < FEWEST:
        raise DsdError(f"{known} networks of {population} have {against}; {FEWEST} are needed, or "
                       "name another column by --against.")  # fmt: skip
    names = columns or tuple(name for name in UNITS if name in table)
    if not names:
        raise click.UsageError(f"{population} has none of {', '.join(UNITS)}: name COLUMNS.")
    xs = {name: values(table, name) for name in dict.fromkeys(names)}
    found = {name: correlation(x, y, confidence) for name, x in xs.items()}
    rows = [{"column": name, **one.as_dict()} for name, one in found.items()]
    said = {"population": population, "regime": regime, "against": against, "measured": how}

    def show() -> None:
        click.echo(f"{population}, {regime}: correlation with {against}{', ' * bool(how)}{how}")
        _show(found, confidence)

    note = "; ".join(part for part in (population, how) if part)
    form.print({**said, "columns": rows}, rows, show)
    form.draw(lambda: _figure(xs, y, found, against, note), population)


def _trained(lab: Lab, population: str, where: str) -> tuple[pd.DataFrame, str, str]:
    """The networks with an error, their regime, and nothing to say about conditions."""
    from dsd.study import Question, scored_table

    table, _, study = scored_table(lab, population, Question(where=where))
    return table, study.regime, ""


def _timed(lab: Lab, name: str, where: str, device: str) -> tuple[pd.DataFrame, str, str]:
    """The networks, trained or not, with their times under one condition, and which that is."""
    from dsd.errors import DsdError, UsageError
    from dsd.store.results import with_times
    from dsd.store.timings import conditions_in
    from dsd.where import matching

    population = lab.population(name)
    times = population.timings
    there = {one.name: one for one in conditions_in(times)}
    if not there:
        raise DsdError(f"No network of {name} was timed: `dsd time {name} --device cuda:0` (or "
                       "cpu) does it.")  # fmt: skip
    fit = [text for text in there if device.lower() in text.lower()]
    if len(fit) != 1:
        which = f"{len(fit) or 'none'} of the conditions that {name} was timed under"
        raise UsageError(f"--device '{device}' names {which}; a part of one of these names it: "
                         f"{'; '.join(there)}.")  # fmt: skip
    same = [times[key] == value for key, value in vars(there[fit[0]]).items()]
    table = with_times(population.frame, times[functools.reduce(operator.and_, same)])
    if where:
        table = table[matching(table, where)]
    return table, ", ".join(sorted(population.regimes)), fit[0]


def _show(found: dict[str, Any], confidence: float) -> None:
    from dsd.cli.text import table

    rows = [
        [name, f"{one.pearson:.2f} [{one.low:.2f}, {one.high:.2f}]", f"{one.spearman:.2f}",
         str(one.n)]
        for name, one in found.items()
    ]  # fmt: skip
    table(["column", f"Pearson, {100 * confidence:g}%", "Spearman", "n"], rows)


def _figure(xs: dict[str, Any], y: Any, found: dict[str, Any], against: str, note: str) -> Figure:
    from dsd.plot.scatter import plot_scatter

    panels = {}
    for name, x in xs.items():
        scale, label = UNITS.get(name, (1, name))
        panels[label] = (x / scale, y, found[name])
    return plot_scatter(panels, AXES.get(against, against), note=note)
