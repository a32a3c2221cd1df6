"""`dsd report`: a study as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import CHOICE
from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command()
@click.argument("populations", nargs=-1, required=True)
@click.option("-o", "--output", default="report.html", show_default=True,
              type=click.Path(dir_okay=False, path_type=Path), help="The page.")  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="EXPR",
              help="What the best may share; repeatable.  [d w1 w4 b1 g1 w0 wa wm]")  # fmt: skip
@CHOICE["where"]
@CHOICE["prefix"]
@CHOICE["metric"]
@CHOICE["confidence"]
@pass_lab
def report(
    lab: Lab, populations: tuple[str, ...], output: Path, columns: tuple[str, ...], **asked: Any
) -> None:
    """Write POPULATIONS as one HTML page: verdicts, tables, figures, networks, provenance, data.

    The page needs nothing beside it and no network. Point at a network in a figure to see it.

    \b
        dsd report anynetx_a anynetx_d regnetx -o report.html
    """
    from dsd.report.contents import contents
    from dsd.report.page import page
    from dsd.store.export import write_text
    from dsd.study import Question

    found = contents(lab, populations, Question(**asked), columns)
    write_text(output, page(found))
    for line in found.study.warnings():
        click.echo(line, err=True)
    click.echo(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
