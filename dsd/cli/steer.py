"""`dsd cancel`, `retry`, `pause`, `resume`, `delete`: what a person decides about the queue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab
    from dsd.store.references import PopulationRow

NO_BACKUP = "No backup was made; before the next one `dsd db backup` makes it."
FEW = 10  # so many queued runs are changed without a question


def choosing(states: tuple[str, ...]) -> Callable[[Any], Any]:
    """The argument and options that choose runs which are in one of these states."""

    def add(command: Any) -> Any:
        for option in (
            click.argument("subjects", nargs=-1, required=True, metavar="POPULATION|RUN..."),
            click.option("--where", default="", metavar="EXPR", help="Only runs that meet this."),
            click.option("--state", "only", multiple=True, type=click.Choice(states),
                         help="Only runs in this state; repeatable."),
            click.option("--yes", is_flag=True, help="Do not ask."),
        ):  # fmt: skip
            command = option(command)
        return command

    return add


@click.command()
@choosing(("queued", "running"))
@pass_lab
def cancel(
    lab: Lab, subjects: tuple[str, ...], where: str, only: tuple[str, ...], yes: bool
) -> None:
    """Cancel queued and running networks of POPULATIONS, or RUNS by their ids.

    A worker that trains one of them leaves it at its next step. `dsd retry` queues them again.

    \b
        dsd cancel anynetx_a --where 'd > 40'
        dsd cancel 17 18
    """
    from dsd.store.steer import CANCELLABLE, cancel

    chosen = _chosen(lab, subjects, where, only or CANCELLABLE)
    _ask(chosen, "Cancel", yes)
    _said(lab, "cancelled", cancel(lab.store, _ids(chosen)), chosen)


@click.command()
@choosing(("failed", "out-of-memory", "cancelled"))
@pass_lab
def retry(
    lab: Lab, subjects: tuple[str, ...], where: str, only: tuple[str, ...], yes: bool
) -> None:
    """Queue failed, out-of-memory and cancelled networks again, with fresh attempts.

    A diverged network is a result, at chance level, and is never trained again.

    \b
        dsd retry anynetx_a --state out-of-memory
        dsd retry 17
    """
    from dsd.store.steer import RETRIABLE, retry

    chosen = _chosen(lab, subjects, where, only or RETRIABLE)
    _ask(chosen, "Queue again", yes)
    _said(lab, "queued again", retry(lab.store, _ids(chosen)), chosen)


@click.command()
@click.argument("populations", nargs=-1)
@pass_lab
def pause(lab: Lab, populations: tuple[str, ...]) -> None:
    """Let no worker begin networks of POPULATIONS, or of all, until `dsd resume`.

    What is running goes on, and so does what another population wants, too.

    \b
        dsd pause anynetx_a
    """
    from dsd.store.steer import pause

    _set_paused(lab, populations, pause, "paused")


@click.command()
@click.argument("populations", nargs=-1)
@pass_lab
def resume(lab: Lab, populations: tuple[str, ...]) -> None:
    """Let workers go on with POPULATIONS, or with all.

    \b
        dsd resume
    """
    from dsd.store.steer import resume

    _set_paused(lab, populations, resume, "resumed")


@click.command()
@click.argument("population")
@click.option("--confirm", default="", metavar="NAME", help="The full name again: no question.")
@click.option("--yes", is_flag=True, help="Do not ask, where there is no result to lose.")
@pass_lab
def delete(lab: Lab, population: str, confirm: str, yes: bool) -> None:
    """Delete POPULATION, or an import: its networks, and runs that no other population shares.

    There is no way back but a backup: `dsd db backup` makes one.

    \b
        dsd delete anynetx_a@fashion#0
    """
    from dsd.store.imports import delete_import, import_sizes
    from dsd.store.steer import delete_population

    sizes = import_sizes(lab.reader)
    if population in sizes:
        _confirm(population, f"{sizes[population][1]} imported networks", confirm)
        delete_import(lab.store, population)
        click.echo(f"Deleted {population}: {sizes[population][1]} imported networks")
        click.echo(NO_BACKUP)
        return
    (row,) = _one(lab, population)
    ended = lab.population(row.name).count("done", "diverged")
    if ended or not yes:
        _confirm(row.name, f"{row.size} networks, {ended} with a result", confirm)
    gone = delete_population(lab.store, row)
    click.echo(f"Deleted {row.name}: {gone['networks']} networks, {gone['runs']} runs; "
               f"{gone['networks'] - gone['runs']} runs are shared and stay")  # fmt: skip
    click.echo(NO_BACKUP)


def _one(lab: Lab, reference: str) -> list[PopulationRow]:
    from dsd.errors import UsageError
    from dsd.store.populations import resolve

    rows = resolve(lab.reader, reference, lab.settings.regime_name)
    if len(rows) > 1:
        names = ", ".join(row.name for row in rows)
        raise UsageError(f"'{reference}' means {len(rows)} populations: name one of {names}.")
    return rows


def _confirm(name: str, what: str, given: str) -> None:
    """Have the full name typed. Raises UsageError for another, and where nobody can be asked."""
    from dsd.errors import UsageError

    if not given:
        if not sys.stdin.isatty():
            raise UsageError(
                f"{name} has {what}: --confirm '{name}' deletes it without a question."
            )
        given = click.prompt(f"{name} has {what}. Type its full name to delete it")
    if given != name:
        raise UsageError(f"'{given}' is not '{name}': nothing was deleted.")


def _set_paused(
    lab: Lab, populations: tuple[str, ...], change: Callable[..., int], word: str
) -> None:
    from dsd.store.populations import populations as all_populations
    from dsd.store.populations import resolve

    everything = all_populations(lab.reader)  # steering makes no database where there is none
    known = lab.settings.regime_name
    rows = [row for name in populations for row in resolve(lab.reader, name, known)]
    changed = change(lab.store, rows if populations else None)
    names = ", ".join(row.name for row in rows or everything) or "there are no populations"
    click.echo(f"{word}: {names}" if changed else f"{word} already: {names}")


def _chosen(
    lab: Lab, subjects: tuple[str, ...], where: str, states: tuple[str, ...]
) -> pd.DataFrame:
    """The rows of those populations, and runs, that are in one of these states; says the rest.

    Raises UsageError where there is none.
    """
    from dsd.cli.choose import rows_of
    from dsd.errors import UsageError
    from dsd.store.steer import RESULTS
    from dsd.where import matching

    table = rows_of(lab, subjects)
    table = table[matching(table, where)] if where else table
    right = table["state"].isin(states)
    others = set(table["state"][~right])
    why = " (a done or a diverged run is a result)" if others & set(RESULTS) else ""
    left = _counts(table[~right])
    if not right.any():
        raise UsageError(
            f"None of these is {' or '.join(states)}: {left or 'there are none'}{why}."
        )
    if left:
        click.echo(f"left as they are: {left}{why}")
    return table[right]


def _ids(chosen: pd.DataFrame) -> list[int]:
    return [int(run) for run in chosen["run"].drop_duplicates()]


def _counts(chosen: pd.DataFrame) -> str:
    states = chosen.drop_duplicates("run")["state"].value_counts()
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _ask(chosen: pd.DataFrame, what: str, yes: bool) -> None:
    """Ask before many runs, or any that is running, is changed."""
    from dsd.errors import UsageError

    many = len(_ids(chosen)) > FEW or (chosen["state"] == "running").any()
    if yes or not many:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what} {_counts(chosen)}? --yes says so without a question.")
    click.confirm(f"{what} {_counts(chosen)}?", abort=True)


def _said(lab: Lab, word: str, counts: dict[str, int], chosen: pd.DataFrame) -> None:
    from dsd.store.runs import wanted_by

    ids, total = _ids(chosen), sum(counts.values())
    done = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    click.echo(f"{total} run{'s'[: total != 1]} {word}{f' (were {done})' if done else ''}")
    if total < len(ids):
        click.echo(f"  {len(ids) - total} had changed their state meanwhile and were left")
    having = wanted_by(lab.reader, ids)
    if sum(having.values()) > len(ids):
        each = ", ".join(f"{count} in {name}" for name, count in having.items())
        click.echo(f"  some are shared, and every population sees it: {each}")
