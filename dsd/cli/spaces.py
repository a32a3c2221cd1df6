"""`dsd spaces`: what can be sampled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.space.spec import Space


@click.command()
@click.argument("space", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def spaces(lab: Lab, space: str | None, as_json: bool) -> None:
    """List the spaces, or show SPACE whole: its draws, its rules, its parent.

    \b
        dsd spaces
        dsd spaces anynetx_d
    """
    from dsd.space.spec import load_space, space_names

    found = [load_space(name) for name in ([space] if space else sorted(space_names()))]
    if as_json:
        click.echo(json.dumps([_record(one) for one in found], indent=2))
    elif space:
        _show(found[0])
    else:
        _list(found)


def _record(space: Space) -> dict[str, Any]:
    return {
        "name": space.name,
        "about": space.about,
        "extends": space.parent,
        "digest": space.digest,
        "degrees_of_freedom": freedom(space),
        **json.loads(space.text),
    }


def freedom(space: Space) -> int:
    """Degrees of freedom (RegNet, table 1)."""
    from dsd.space.rules import compile_rules

    return compile_rules(space, space.restrict, space.name).free_parameters


def _list(found: list[Space]) -> None:
    from dsd.cli.text import table

    rows = [[s.name, s.form, s.block, str(freedom(s)), s.parent or "-", s.about] for s in found]
    table(["space", "form", "block", "freedom", "extends", "about"], rows, left=(0, 1, 4, 5))


def _show(space: Space) -> None:
    click.echo(f"{space.name}: {space.about}")
    click.echo(f"  form       {space.form}, {space.stages} stages, block {space.block}, "
               f"{space.activation}")  # fmt: skip
    click.echo(f"  freedom    {freedom(space)} parameters")
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
