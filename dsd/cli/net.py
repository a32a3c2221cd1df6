"""`dsd net`: one network, its stages and its cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dsd.errors import UsageError

if TYPE_CHECKING:
    from dsd.net.arch import Arch

PARAMETERS = ("d", "w", "w0", "wa", "wm", "b", "g")
NEEDS = {"regnet": ("d", "w0", "wa", "wm", "g"), "anynet": ("d", "w", "b", "g")}
OPTIONS = (
    click.option("--d", metavar="D", help="Blocks: in all (regnet), or one number a stage."),
    click.option("--w", metavar="W,...", help="Channels of each stage (anynet)."),
    click.option("--w0", type=float, help="Initial width (regnet)."),
    click.option("--wa", type=float, help="Slope (regnet)."),
    click.option("--wm", type=float, help="Width multiplier (regnet)."),
    click.option("--b", metavar="B", help="Bottleneck ratio w / w_b.  [regnet: 1]"),
    click.option("--g", metavar="G", help="Channels per group."),
    click.option("--block", type=click.Choice(["X", "Y", "R", "V", "VR"]), help="Block.  [X]"),
)


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what describes a network beside its name; `network_from` reads it."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@network_options
@click.option("--resolution", default=224, show_default=True, type=click.IntRange(1),
              help="Image side in pixels.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Draw the widths of the blocks.")  # fmt: skip
def net(
    name: str,
    block: str | None,
    resolution: int,
    as_json: bool,
    plot: str | None,
    **given: Any,
) -> None:
    """Show a network: a published one by NAME, or `regnet` or `anynet` with its parameters.

    \b
        dsd net regnetx-400mf
        dsd net regnet --d 22 --w0 24 --wa 24.48 --wm 2.54 --g 16
        dsd net anynet --d 1,2,7,12 --w 32,64,160,400 --b 1,1,1,1 --g 16,16,16,16
    """
    arch = network_from(name, block, {k: v for k, v in given.items() if v is not None})
    record = describe(arch, name, resolution)
    if as_json:
        click.echo(json.dumps(record))
    else:
        _show(record)
    if plot is not None:
        click.echo(f"Wrote {_draw(arch, name, plot or f'net-{name}.png')}", err=as_json)


def describe(arch: Arch, name: str, resolution: int) -> dict[str, Any]:
    """Plain data of a network: stages, depth and cost."""
    from dsd.net.cost import cost

    stages = [{"d": s.d, "w": s.w, "b": s.b, "g": s.g} for s in arch.stages]
    return {"name": name, "digest": arch.digest, "block": arch.block, "resolution": resolution,
            "d": arch.d, "stages": stages, **cost(arch, resolution).as_dict()}  # fmt: skip


def network_from(name: str, block: str | None, given: dict[str, Any]) -> Arch:
    """A published network, or `regnet` or `anynet` by what is given. Raises UsageError."""
    from dsd.space import networks

    if name not in NEEDS:
        if given or block:
            flags = ", ".join(f"--{key}" for key in [*given, *(["block"] if block else [])])
            raise UsageError(f"{flags}: only for the networks `regnet` and `anynet`.")
        return networks.published_network(name)
    missing = [f"--{key}" for key in NEEDS[name] if key not in given]
    odd = [f"--{key}" for key in given if key not in (*NEEDS[name], "b")]
    if missing or odd:
        raise UsageError(f"Network {name}: missing {', '.join(missing) or 'nothing'}; "
                         f"of no use {', '.join(odd) or 'nothing'}.")  # fmt: skip
    if name == "regnet":
        numbers: dict[str, Any] = {
            key: value if isinstance(value, float) else _one(key, value)
            for key, value in given.items()
        }
        return networks.regnet(**numbers, block=block or "X")
    lists: dict[str, Any] = {key: _list(key, text) for key, text in given.items()}
    return networks.anynet(**lists, block=block or "X")


def _one(key: str, text: str) -> Any:
    values = _list(key, text)
    if len(values) != 1:
        raise UsageError(f"--{key} {text}: needs one number.")
    return values[0]


def _list(key: str, text: str) -> list[Any]:
    """Numbers between commas; whole ones but for b."""
    try:
        return [float(part) if key == "b" else int(part) for part in text.split(",")]
    except ValueError:
        kind = "numbers" if key == "b" else "whole numbers"
        raise UsageError(f"--{key} {text}: needs {kind}, separated by commas.") from None


def _show(record: dict[str, Any]) -> None:
    from dsd.cli.text import si, table

    click.echo(f"{record['name']}: {record['d']} blocks {record['block']}, {record['digest']}")
    rows = [[str(i + 1), *(f"{s[p]:g}" for p in "dwbg")] for i, s in enumerate(record["stages"])]
    table(["stage", "d", "w", "b", "g"], rows)
    click.echo(f"at {record['resolution']} px:")
    for name in ("flops", "params", "acts"):
        click.echo(f"  {name:<7}{record[name]:>15,}  {si(record[name])}")


def _draw(arch: Arch, name: str, file: str) -> str:
    from dsd.plot.files import save, writable
    from dsd.plot.widths import plot_widths

    path = writable(file)
    save(plot_widths({name: [(s.d, s.w) for s in arch.stages]}), path)
    return str(path)
