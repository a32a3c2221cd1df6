"""`dsd regimes`: the conditions under which networks can be scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dsd.regime import Regime


@click.command()
@click.argument("regime", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def regimes(regime: str | None, as_json: bool) -> None:
    """List the regimes, or show REGIME whole: every key, its value and its meaning.

    \b
        dsd regimes
        dsd regimes imagenet_400mf
    """
    from dsd.regime import load_regime

    found = [load_regime(regime)] if regime else readable()
    if as_json:
        click.echo(json.dumps([_record(one) for one in found], indent=2))
    elif regime:
        _show(found[0])
    else:
        _list(found)


def readable() -> list[Regime]:
    """The regimes that can be read; what ails the others goes to the error stream."""
    from dsd.errors import UsageError
    from dsd.regime import load_regime, regime_names

    found = []
    for name in sorted(regime_names()):
        try:
            found.append(load_regime(name))
        except UsageError as error:
            click.echo(f"Left out: {error}", err=True)
    return found


def _record(regime: Regime) -> dict[str, Any]:
    return {"name": regime.name, "digest": regime.digest, **regime.values}


def band_text(regime: Regime) -> str:
    """360M to 400M flops"""
    from dsd.cli.text import si

    return ", ".join(f"{si(a)} to {si(b)} {c}" for c, (a, b) in regime.band.items()) or "no band"


def _list(found: list[Regime]) -> None:
    from dsd.cli.text import table

    rows = [
        [one.name, one.dataset, f"{one.resolution} px", band_text(one), str(one.train.epochs),
         str(one.train.batch), f"{one.train.lr:g}", f"{one.train.weight_decay:g}", one.digest]
        for one in found
    ]  # fmt: skip
    headers = ["regime", "dataset", "images", "band", "epochs", "batch", "lr", "weight decay"]
    table([*headers, "digest"], rows, left=(0, 1, 3))


def _show(regime: Regime) -> None:
    from dsd.cli.text import table

    click.echo(f"{regime.name}: {band_text(regime)}, digest {regime.digest}")
    table(["key", "value", "meaning"], list(_keys(regime)), left=(0, 1, 2))


def _keys(regime: Regime) -> Iterator[list[str]]:
    """Every key as its file writes it; those of a table after the table's name."""
    values = regime.values
    for column, bounds in values["band"].items():
        yield [f"band.{column}", json.dumps(bounds), "what a network may cost, bounds included"]
    tables: dict[str, Any] = {
        "": regime, "stem": regime.stem, "train": regime.train, "augment": regime.augment,
    }  # fmt: skip
    for name, table in tables.items():
        for key in fields(table):
            if name or key.name not in ("name", "band", *tables):
                value = values[name][key.name] if name else values[key.name]
                choices = key.metadata.get("one_of", ())
                also = f" (one of {', '.join(choices)})" if choices else ""
                label = f"{name}.{key.name}" if name else key.name
                yield [label, json.dumps(value), key.metadata["about"] + also]
