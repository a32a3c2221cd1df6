"""`dsd summary`: each network's mean error and its spread over repeated trainings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab, Population

KNOWN = ("first_error", "flops", "params", "acts", "inference_ms", "training_ms")


@click.command()
@click.argument("population")
@click.option("--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
              help="Error of the last epoch, or the lowest of all.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_lab
def summary(lab: Lab, population: str, metric: str, as_json: bool, as_csv: bool) -> None:
    """Mean and spread of each network of POPULATION over its repeats, all seeds together.

    first error is the one that chose the network, under the regime it was chosen under; it is low
    by luck, too, which the repeats are not.

    \b
        dsd summary top25/anynetx_d@imagenet_400mf_100ep
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    found = lab.population(population)
    rows = _rows(found, metric)
    if as_json:
        said = {"population": found.name, "parts": found.parts, "origin": found.origin,
                "metric": metric, "networks": rows}  # fmt: skip
        click.echo(json.dumps(said, indent=2))
    elif as_csv:
        import pandas as pd

        click.echo(pd.DataFrame(rows).to_csv(index=False), nl=False)
    else:
        _show(found, metric, rows)
    missing, size = sum(row["missing"] for row in rows), len(found.frame)
    if missing:
        click.echo(f"Warning: {missing} of {size} trainings are unfinished, failed or cancelled "
                   "and are missing here.", err=True)  # fmt: skip


def _rows(population: Population, metric: str) -> list[dict[str, Any]]:
    """One row a network, in the order of the population."""
    from dsd.analysis.repeats import repeated
    from dsd.lab import SCORED

    table = population.frame
    known = [name for name in KNOWN if name in table]
    rows = []
    for _, group in table.groupby("digest" if "digest" in table else "ordinal", sort=False):
        scored = group[group["state"].isin(SCORED)]
        first = group.iloc[0]
        row = {"network": int(first["ordinal"]), "digest": first.get("digest", "")}
        row |= repeated(scored[f"error_{metric}"]).as_dict()
        row |= {
            "missing": len(group) - row["n"],
            "diverged": int((group.state == "diverged").sum()),
        }
        rows.append(row | {name: _plain(first[name]) for name in known})
    return rows


def _plain(value: Any) -> Any:
    """A number that JSON knows, None where there is none."""
    return None if value is None or value != value else getattr(value, "item", lambda: value)()


def _show(found: Population, metric: str, rows: list[dict[str, Any]]) -> None:
    from dsd.cli.text import si, table
    from dsd.study import METRICS

    regime = ", ".join(sorted(found.regimes))
    click.echo(f"{found.name}, regime {regime}, {METRICS[metric]} in percent")
    if found.origin:
        click.echo(f"selection: {found.origin}")
    click.echo(f"pools {', '.join(found.parts)}")
    known = [name for name in KNOWN if any(row.get(name) is not None for row in rows)]
    diverged = any(row["diverged"] for row in rows)
    cells = []
    for row in rows:
        costs = [_cost(name, row[name], si) for name in known]
        spread = [_error(row[name]) for name in ("mean", "sd", "min", "max")]
        cells.append([str(row["network"]), row["digest"], *spread, str(row["n"]),
                      *([str(row["diverged"])] * diverged), *costs])  # fmt: skip
    heads = [name.replace("_", " ") for name in known]
    table(["network", "digest", "mean", "sd", "min", "max", "n", *(["diverged"] * diverged),
           *heads], cells, left=(1,))  # fmt: skip


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cost(name: str, value: float | None, si: Any) -> str:
    if value is None:
        return "-"
    if name == "first_error":
        return _error(value)
    return f"{value:.4g}" if name.endswith("_ms") else si(value)
