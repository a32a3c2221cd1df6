"""`dsd count`: how many settings or networks of a space a regime's band holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dsd.cli.bar import counting
from dsd.cli.options import pass_lab
from dsd.cli.text import scientific

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.space.count import Count


@click.command()
@click.argument("space")
@click.option("--minutes", type=click.IntRange(min=0), default=10, show_default=True,
              help="How long an exact count of settings may take, about, on one core.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def count(lab: Lab, space: str, minutes: int, as_json: bool) -> None:
    """Count what SPACE holds inside the regime's band, exactly where time allows.

    Settings of a per-stage space, by dynamic programming over its stages or by meeting in the
    middle; distinct networks of a quantised-linear one. Where a number would take too long, there
    is a lower and an upper bound. Rules on cost thin out what is inside the band, not the total.

    The minutes are those of a fixed estimate: the same number comes of them on every machine.

    \b
        dsd count anynetx_e
        dsd count regnetx --regime fashion
    """
    from dsd.regime import load_regime
    from dsd.space.count import count as count_space
    from dsd.space.spec import load_space

    regime, found = load_regime(lab.settings.regime), load_space(space)
    with counting(found.name, "cases") as tick:
        counted = count_space(found, regime, minutes, tick)
    if as_json:
        record = {"space": found.name, "regime": regime.name, **asdict(counted)}
        click.echo(json.dumps({**record, "inside": counted.inside, "exact": counted.exact}))
    else:
        _show(found.name, regime.name, counted)


def _show(space: str, regime: str, counted: Count) -> None:
    click.echo(f"{space} holds {counted.total:,} settings ({scientific(counted.total)})")
    click.echo(f"  {_number(counted)} {counted.unit} in {regime}'s band{_share(counted)}, "
               f"by {counted.method}")  # fmt: skip
    if counted.unit == "settings" and not counted.exact and not counted.left_out:
        click.echo("  exactly, perhaps, with more --minutes")
    for rule in counted.left_out:
        click.echo(f"  not counted in: {rule}")


def _number(counted: Count) -> str:
    if counted.exact:
        return f"exactly {counted.at_least:,}"
    if counted.at_most is None:
        return f"at least {counted.at_least:,}"
    return f"between {counted.at_least:,} and {counted.at_most:,}"


def _share(counted: Count) -> str:
    """Which share of the settings that is."""
    if counted.unit != "settings" or counted.at_most is None or not counted.total:
        return ""
    shares = dict.fromkeys(f"{x / counted.total:.4g}" for x in (counted.at_least, counted.at_most))
    return f" (a share of {' to '.join(shares)})"
