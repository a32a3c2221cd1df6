"""`dsd note` and `dsd tag`: what people write about populations, runs and imports."""

from __future__ import annotations

import getpass
import os
import time
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command()
@click.argument("subject")
@click.argument("text", required=False)
@pass_lab
def note(lab: Lab, subject: str, text: str | None) -> None:
    """Write TEXT about SUBJECT: a population, an import or a run's id. Without TEXT, read.

    \b
        dsd note anynetx_a "the first 100 with the old driver"
        dsd note 17
    """
    from dsd.store.notes import add_note, find_subject, notes_of

    if text is not None and not text.strip():
        raise click.UsageError("An empty note says nothing; without TEXT the notes are shown.")
    about = find_subject(lab.reader, subject, lab.settings.regime_name)
    if text:
        add_note(lab.store, about, text, _author())
    found = notes_of(lab.reader, about)
    for one in found:
        click.echo(note_line(one))
    if not found:
        click.echo(f"no notes on {about.name}")


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"user {os.getuid()}"


def note_line(one: dict[str, object]) -> str:
    """2026-11-24 13:05 ann: the text"""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(str(one["created"]))))
    return f"{when} {one['author']}: {one['text']}"


@click.command()
@click.argument("subject")
@click.argument("names", nargs=-1, metavar="[TAG]...")
@click.option("--remove", is_flag=True, help="Take the tags off.")
@pass_lab
def tag(lab: Lab, subject: str, names: tuple[str, ...], remove: bool) -> None:
    """Mark SUBJECT (a population, an import or a run's id) with TAGs. Without a TAG, list them.

    \b
        dsd tag 17 odd-curve
        dsd runs --tag odd-curve
    """
    from dsd.store.notes import add_tags, find_subject, remove_tags, tags_of

    if remove and not names:
        raise click.UsageError("--remove needs the tags to take off.")
    about = find_subject(lab.reader, subject, lab.settings.regime_name)
    if remove:
        lacking = sorted(set(names) - set(tags_of(lab.reader, about)))
        remove_tags(lab.store, about, names)
        if lacking:
            click.echo(f"{about.name} did not have {', '.join(lacking)}")
    elif names:
        add_tags(lab.store, about, names)
    click.echo(f"{about.name}: {', '.join(tags_of(lab.reader, about)) or 'no tags'}")
