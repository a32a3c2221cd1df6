"""`dsd time`: milliseconds of networks, measured and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.named import Named

NOISE = 0.2  # cores that others may keep busy before it is said


@click.command(name="time")
@click.argument("names", nargs=-1, required=True, metavar="SPACE|POPULATION|NETWORK...")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda:0, ...")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(1),
              help="Images at once.")  # fmt: skip
@click.option("-n", "--n", type=click.IntRange(1), help="Only the first N networks of each.")
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0),
              help="Measure each mode for so long; nine steps at least.")  # fmt: skip
@click.option("--again", is_flag=True, help="Measure also what was measured before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def time(
    lab: Lab, names: tuple[str, ...], device: str, batch: int, n: int | None, seconds: float,
    again: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure how long a batch takes, in inference and in training, and keep it.

    A published network, or those of a population in sampling order, at the regime's resolution and
    in its precision. On the CPU one thread works, as in a worker. What was measured under
    the same conditions is shown, not measured again.

    \b
        dsd time regnetx-400mf regnety-400mf --device cuda:0
        dsd time anynetx_d@fashion --n 100 --batch 16
    """
    from dsd.named import networks_named
    from dsd.train.device import named_device, prepare

    where = named_device(device)
    prepare(where)
    lab.upgrade()
    chosen = [networks_named(lab, name, n) for name in dict.fromkeys(names)]
    rows = []
    for row in _measured(lab, chosen, where, batch, seconds, again, as_json):
        rows.append(row)
        if not as_json:
            click.echo(_line(row))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    _say_load(rows)


def _measured(
    lab: Lab, chosen: list[Named], device: Any, batch: int, seconds: float, again: bool, quiet: bool
) -> Iterator[dict[str, Any]]:
    """One row a network, as soon as it is measured and kept."""
    import torch

    from dsd.net.cost import cost
    from dsd.store.process import host
    from dsd.store.timings import Conditions, save_timing, timed
    from dsd.train.device import hardware
    from dsd.train.timing import measure

    for named in chosen:
        regime = named.regime
        conditions = Conditions(hardware(device), str(torch.__version__), regime.resolution, batch,
                                regime.train.precision)  # fmt: skip
        click.echo(f"{conditions.name}{'; ' * bool(named.note)}{named.note}", err=quiet)
        digests = [arch.digest for arch in named.archs]
        known = {} if again else timed(lab.store, conditions, digests)
        for label, arch in zip(named.labels, named.archs, strict=True):
            said = known.get(arch.digest)
            if said is None:
                said = measure(arch, regime, device, batch, seconds).as_dict()
                save_timing(lab.store, arch, conditions, host(), said)
            times = {name: said[name] for name in _COLUMNS}
            yield {"name": label, "digest": arch.digest, **cost(arch, regime.resolution).as_dict(),
                   **vars(conditions), **times, "known": arch.digest in known}  # fmt: skip


_COLUMNS = ("inference_ms", "inference_low", "inference_high", "training_ms", "training_low",
            "training_high", "samples", "others")  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    """One network in words, its quartiles in brackets."""
    from dsd.cli.text import si

    said = []
    for mode in ("inference", "training"):
        median, low, high = (row[f"{mode}_{part}"] for part in ("ms", "low", "high"))
        if median is None:
            said.append(f"{mode}: out of memory")
        else:
            said.append(f"{mode} {median:.4g} ms [{low:.4g}, {high:.4g}]")
    costs = ", ".join(f"{si(row[name])} {name}" for name in ("flops", "params", "acts"))
    known = " (measured before)" * row["known"]
    return f"  {row['name']}: {', '.join(said)}; {costs}{known}"


def _say_load(rows: list[dict[str, Any]]) -> None:
    """Tell whether other work ran meanwhile: its times are not those of a quiet machine."""
    others = [row["others"] for row in rows if row["others"] is not None and not row["known"]]
    if not others or max(others) < NOISE:
        return
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    many = sum(other >= NOISE for other in others)
    click.echo(
        f"Warning: other work kept up to {max(others):.1f} of {os.cpu_count()} cores busy while "
        f"{many} of {len(others)} networks were measured{load}: these are not the times of a quiet "
        "machine; --again measures them anew.",
        err=True,
    )
