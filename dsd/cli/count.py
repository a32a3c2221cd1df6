"""`dsd count`: how many settings or networks of a space a regime's band holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.space.count import Count


@click.command()
@click.argument("space")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def count(lab: Lab, space: str, as_json: bool) -> None:
    """Count what SPACE holds inside the regime's band, exactly where it can be.

    Settings of a per-stage space, by dynamic programming over its stages; distinct networks of a
    quantised-linear one.

    \b
        dsd count anynetx_e
        dsd count regnetx --regime fashion
    """
    from dsd.regime import load_regime
    from dsd.space.count import count as count_space
    from dsd.space.spec import load_space

    regime, found = load_regime(lab.settings.regime), load_space(space)
    counted = count_space(found, regime)
    if as_json:
        record = {"space": found.name, "regime": regime.name, **asdict(counted)}
        click.echo(json.dumps({**record, "exact": counted.exact}))
    else:
        _show(found.name, regime.name, counted)


def _show(space: str, regime: str, counted: Count) -> None:
    click.echo(f"{space} holds {counted.total:,} settings ({counted.total:.1e})")
    share = f" ({counted.inside / counted.total:.2%} of them)" if counted.unit == "settings" else ""
    click.echo(f"  {counted.inside_is} {counted.inside:,} {counted.unit} in {regime}'s band"
               f"{share * bool(counted.total)}, by {counted.method}")  # fmt: skip
    for rule in counted.left_out:
        click.echo(f"  not counted in: {rule}")
