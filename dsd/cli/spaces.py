"""`dsd spaces`: what can be sampled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.regime import Regime
    from dsd.space.spec import Space


@click.command()
@click.argument("space", required=False)
@click.option("--lineage", is_flag=True, help="Show as a tree what extends what.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def spaces(lab: Lab, space: str | None, lineage: bool, as_json: bool) -> None:
    """List the spaces and their sizes, or show SPACE whole: its draws, its rules, its parent.

    The columns are those of the RegNet paper's table 1; `in band` is the share of draws that the
    default regime's band accepts.

    \b
        dsd spaces
        dsd spaces anynetx_d
        dsd spaces --lineage --regime cifar10
    """
    from dsd.regime import load_regime
    from dsd.space.spec import load_space, space_names

    found = [load_space(space)] if space else _readable(sorted(space_names()))
    regime = load_regime(lab.settings.regime)
    if lineage:
        _tree(found)
    elif as_json:
        click.echo(json.dumps([_record(one, regime) for one in found], indent=2))
    elif space:
        _show(found[0], regime)
    else:
        _list(found, regime)


def _readable(names: list[str]) -> list[Space]:
    """The spaces that can be read; what ails the others goes to the error stream."""
    from dsd.errors import UsageError
    from dsd.space.spec import load_space

    found = []
    for name in names:
        try:
            found.append(load_space(name))
        except UsageError as error:
            click.echo(f"Left out: {error}", err=True)
    return found


def _record(space: Space, regime: Regime) -> dict[str, Any]:
    from dsd.space.size import size

    known = size(space)
    return {
        "name": space.name,
        "about": space.about,
        "extends": space.parent,
        "digest": space.digest,
        "degrees_of_freedom": known.freedom,
        "paper_combinations": known.paper,
        "settings": known.settings,
        "settings_bounded_by": list(known.bounded),
        "regime": regime.name,
        "in_band": _share(space, regime),
        **json.loads(space.text),
    }


def _share(space: Space, regime: Regime) -> dict[str, Any] | None:
    """Share of draws in the band with its 95% interval; None where the regime does not fit."""
    from dsd.analysis.binomial import proportion_interval
    from dsd.errors import UsageError
    from dsd.space.size import band_share

    try:
        inside, n = band_share(space, regime)
    except UsageError:
        return None
    low, high = proportion_interval(inside, n)
    return {"share": inside / n, "low": low, "high": high, "inside": inside, "draws": n}


def _percent(share: dict[str, Any] | None) -> str:
    if share is None:
        return "-"
    return " ".join(
        [f"{100 * share['share']:.2f}%", f"[{100 * share['low']:.2f}, {100 * share['high']:.2f}]"]
    )


def _list(found: list[Space], regime: Regime) -> None:
    from dsd.cli.text import scientific, table
    from dsd.space.size import size

    rows = []
    for space in found:
        known = size(space)
        bound = "<= " * bool(known.bounded)
        rows.append([space.name, space.parent or "-", space.block, str(known.freedom),
                     scientific(known.paper), f"{bound}{scientific(known.settings, 4)}",
                     _percent(_share(space, regime)), _own_rules(space)])  # fmt: skip
    headers = ["space", "extends", "block", "freedom", "paper's count", "settings"]
    table([*headers, f"in {regime.name}'s band", "restriction"], rows, left=(0, 1, 7))
    click.echo(
        "\nfreedom: parameters that are drawn. paper's count: table 1 of RegNet, which ignores ties"
        "\nand takes 64 values for each of d, w0, wa, wm. settings: exact, ties counted."
        "\nin band: share of draws, 95% interval."
    )


def _own_rules(space: Space) -> str:
    """The rules that the space adds to its parent."""
    return ", ".join(space.own_rules) or ("none" if not space.parent else space.about)


def _tree(found: list[Space]) -> None:
    from rich.console import Console
    from rich.tree import Tree

    root = Tree("spaces")
    nodes: dict[str, Tree] = {}
    waiting = list(found)
    names = {space.name for space in found}
    while waiting:
        space = waiting.pop(0)
        if space.parent in names and space.parent not in nodes:
            waiting.append(space)
            continue
        node = nodes.get(space.parent or "", root)
        nodes[space.name] = node.add(f"{space.name}: {_own_rules(space)}")
    Console(width=200, highlight=False, markup=False).print(root)


def _show(space: Space, regime: Regime) -> None:
    from dsd.cli.text import scientific
    from dsd.space.size import size

    known = size(space)
    click.echo(f"{space.name}: {space.about}")
    click.echo(f"  form       {space.form}, {space.stages} stages, block {space.block}, "
               f"{space.activation}")  # fmt: skip
    click.echo(f"  freedom    {known.freedom} parameters")
    click.echo(f"  settings   {'at most ' * bool(known.bounded)}{known.settings:,}; "
               f"counted as the paper does, {scientific(known.paper)}")  # fmt: skip
    click.echo(f"  in band    {_percent(_share(space, regime))} of draws under {regime.name}")
    if space.parent:
        click.echo(f"  extends    {space.parent}")
    for key, spec in json.loads(space.text)["draw"].items():
        click.echo(f"  {key:<10} {_draw(spec)}")
    for rule in space.restrict:
        click.echo(f"  rule       {rule}")
    click.echo(f"  digest     {space.digest}")


def _draw(spec: Any) -> str:
    if isinstance(spec, list):
        return "one of " + ", ".join(map(str, spec))
    kind = next(key for key in spec if key != "step")
    low, high = spec[kind]
    return f"{kind} in [{low}, {high}], step {spec.get('step', 1)}"
