"""`dsd sample`: draw a population and queue it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab
from dsd.cli.regimes import band_text

if TYPE_CHECKING:
    from dsd.lab import Lab
    from dsd.space.sample import Sample
    from dsd.store.populations import Saved


@click.command()
@click.argument("space")
@click.option("-n", "--n", default=500, show_default=True, type=click.IntRange(1),
              help="Size that the population shall reach.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1),
              help="Which draw.")  # fmt: skip
@click.option("--priority", default=0, show_default=True,
              type=click.IntRange(-(2**31) + 1, 2**31 - 1),
              help="Higher is trained earlier.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Draw only; store and queue nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per network.")
@pass_lab
def sample(
    lab: Lab, space: str, n: int, seed: int, priority: int, dry_run: bool, as_json: bool
) -> None:
    """Draw N networks from SPACE in the regime's band and queue them for training.

    \b
        dsd sample anynetx_c --n 500
        dsd sample regnetx --n 20 --dry-run --json
    """
    if "@" in space or "#" in space:
        raise click.UsageError(f"'{space}' names a population; give the space, and the rest as "
                               "--regime and --seed.")  # fmt: skip
    drawn = lab.draw(space, n, seed=seed)
    saved = None if dry_run else lab.keep(drawn, priority)
    if as_json:
        click.echo("\n".join(json.dumps(record) for record in records(drawn)))
    for line in _report(lab, drawn, n, saved):
        click.echo(line, err=as_json)


def records(drawn: Sample) -> Iterator[dict[str, Any]]:
    """One plain object a network: stages as they are built, and what was drawn for them."""
    place = {"space": drawn.space.name, "regime": drawn.regime.name, "seed": drawn.seed}
    for i, (arch, draw) in enumerate(zip(drawn.archs, drawn.draws, strict=True)):
        stages = [{"d": s.d, "w": s.w, "b": s.b, "g": s.g} for s in arch.stages]
        cost = {name: int(getattr(drawn, name)[i]) for name in ("flops", "params", "acts")}
        scalars = draw if drawn.space.form != "per-stage" else {"d": arch.d}
        yield {"digest": arch.digest, **place, "ordinal": i, "block": arch.block,
               "stages": stages, **scalars, **cost, "draw": draw}  # fmt: skip


def _report(lab: Lab, drawn: Sample, n: int, saved: Saved | None) -> Iterator[str]:
    name = f"{drawn.space.name}@{drawn.regime.name}#{drawn.seed}"
    many = "networks" if len(drawn) != 1 else "network"
    yield f"{name}: {len(drawn)} distinct {many}, {band_text(drawn.regime)}"
    tally = dict(drawn.tally)
    tried = tally.pop("candidates")
    causes = "; ".join(f"{count:,} {cause}" for cause, count in tally.items())
    yield f"  {tried:,} candidates{': ' + causes if causes else ''}"
    if len(drawn) < n:
        yield f"  the space holds no more that could be found: {n} were asked"
    if saved:
        shared = f", {saved.reused} shared with another population" * bool(saved.reused)
        queued = saved.added - saved.reused
        yield (f"  {queued} queued, {saved.known} already known{shared}; "
               f"the population in {lab.settings.database} has {saved.size}")  # fmt: skip
    else:
        yield "  dry run: nothing stored"
