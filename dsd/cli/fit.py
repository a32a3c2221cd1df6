"""`dsd fit`: how near a network, or each of a population, is to a quantised line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dsd.cli.answer import Form, answering
from dsd.cli.net import NEEDS, network_from, network_options

if TYPE_CHECKING:
    from dsd.fits import Fits
    from dsd.lab import Lab
    from dsd.net.arch import Arch
    from dsd.net.groups import Stages
    from dsd.plot.fit import Fitted
    from dsd.space.linear_fit import Fit

DRAWN = 3  # networks beside the scatter
SHOWN = ("ordinal", "d", "w0", "wa", "wm")


@click.command()
@click.argument("name", metavar="POPULATION|NETWORK")
@network_options
@click.option("--wm-range", nargs=2, type=float, default=(1.5, 3.0), show_default=True,
              metavar="LOW HIGH", help="Limits of the fitted wm.")  # fmt: skip
@click.option("--raw", is_flag=True,
              help="Leave the line's widths as they are, incompatible with groups.")  # fmt: skip
@click.option("-n", "--n", default=10, show_default=True, type=click.IntRange(1),
              help="How many of the best fitted networks to list.")  # fmt: skip
@answering("where", "prefix", "metric", "confidence")
def fit(
    lab: Lab, name: str, block: str | None, wm_range: tuple[float, float], raw: bool, n: int,
    form: Form, where: str, prefix: bool, metric: str, confidence: float, **given: Any,
) -> None:  # fmt: skip
    """Fit a quantised line w0, wa, wm to each network of POPULATION, or to one NETWORK.

    e_fit is the mean over blocks of (log2 predicted / observed width)^2 at the network's own depth
    and number of stages (RegNet, section 3.3): 0 for a RegNet, and the best networks of a good
    space have little of it. NETWORK is named as for `dsd net`.

    \b
        dsd fit anynetx_e --plot
        dsd fit regnetx-400mf --plot
        dsd fit anynet --d 1,2,7,12 --w 32,64,160,400 --b 1,1,1,1 --g 16,16,16,16
    """
    from dsd.fits import fits_of
    from dsd.space.networks import published
    from dsd.study import Question

    given = {key: value for key, value in given.items() if value is not None}
    if name in NEEDS or name in published() or given or block:
        for flag, used in (("--where", where), ("--prefix", prefix), ("--csv", form.as_csv)):
            if used:
                raise click.UsageError(f"{flag} is for populations; {name} is one network.")
        _one(name, network_from(name, block, given), wm_range, not raw, form)
        return
    asked = Question(metric, confidence, where, prefix)
    found = fits_of(lab, name, wm_range, not raw, asked)
    note = f"{name}, {found.study.note}"
    said = {"population": name, "wm_range": list(wm_range), "groups": not raw}

    def figure() -> Any:
        from dsd.plot.fit import plot_fits

        return plot_fits(_some(found), (found.e_fit, found.errors, found.best), note=note)

    def show() -> None:
        click.echo(note)
        _show(found, n)

    data = {**said, **found.as_dict(), "networks": found.rows}
    form.print(data, found.rows, show, found.study.warnings())
    form.draw(figure, name)


def _one(name: str, arch: Arch, wm: tuple[float, float], groups: bool, form: Form) -> None:
    from dsd.errors import DsdError
    from dsd.space.linear_fit import linear_fit, stages_in

    stages = stages_in(arch)
    found = linear_fit(stages, arch.block, wm, groups=groups)
    if found is None:
        want = f"{len(arch.stages)} stages in {arch.d} blocks"
        raise DsdError(f"{name}: no line with wm from {wm[0]:g} to {wm[1]:g} has {want}; "
                       "widen --wm-range.")  # fmt: skip
    split = {
        "network": list(zip(stages.d[0].tolist(), stages.w[0].tolist(), strict=True)),
        "fit": list(zip(found.depths, found.widths, strict=True)),
    }
    line = found.line
    said = {"name": name, "d": arch.d, **vars(line), "e_fit": found.e_fit}

    def show() -> None:
        exact = ": its widths are a RegNet's" if found.e_fit == 0 else ""
        click.echo(f"{name}: e_fit {found.e_fit:.4g}{exact}")
        click.echo(f"  d {arch.d} (its own), w0 {line.w0:g}, wa {line.wa:g}, wm {line.wm:g}; "
                   "others may give the same stages")  # fmt: skip
        for kind, pairs in split.items():
            click.echo(f"  {kind:<8}" + ", ".join(f"{d} x {w}" for d, w in pairs))

    def figure() -> Any:
        from dsd.plot.fit import plot_fits

        return plot_fits({f"{name}, e_fit {found.e_fit:.3g}": _panel(stages, found)})

    form.print({**said, "wm_range": list(wm), "groups": groups, **split}, [], show)
    form.draw(figure, name)


def _show(found: Fits, n: int) -> None:
    from dsd.cli.text import table

    order = [int(i) for i in found.e_fit.argsort(kind="stable") if found.fits[i]]
    known = found.rows
    rows = [[*(f"{known[i].get(key, i):g}" for key in SHOWN), f"{known[i]['e_fit']:.4f}",
             f"{known[i]['error']:.2f}"] for i in order[:n]]  # fmt: skip
    table([*SHOWN, "e_fit", "error"], rows, left=())
    level = f"{100 * found.study.confidence:g}%"
    least, *quarters, most = found.quartiles
    on_line = int((found.e_fit == 0).sum())
    click.echo(f"\n{len(known)} networks, {on_line} of them on a line: e_fit {least:.3g} to "
               f"{most:.3g}, quartiles {', '.join(f'{x:.3g}' for x in quarters)}")  # fmt: skip
    if found.fits.count(None):
        click.echo(f"{found.fits.count(None)} have stages that no line in the limits of wm has")
    if found.best:
        click.echo(f"the best networks: e_fit {found.best.best:.3g} "
                   f"[{found.best.low:.3g}, {found.best.high:.3g}] ({level} range)")  # fmt: skip
    if found.rank:
        r = found.rank
        click.echo(f"rank correlation with the error: {r.rho:.2f} [{r.low:.2f}, {r.high:.2f}] "
                   f"({level})")  # fmt: skip
    else:
        click.echo("rank correlation with the error: none, where one of the two never differs")


def _some(found: Fits) -> dict[str, Fitted]:
    """The best networks by error and the worst, each with its fit, by their titles."""
    order = [int(i) for i in found.errors.argsort(kind="stable") if found.fits[i]]
    places = dict.fromkeys([*range(min(DRAWN - 1, len(order))), len(order) - 1])
    titles = {len(order) - 1: "worst"} | dict(enumerate(("best", "second", "third")[: DRAWN - 1]))
    panels = {}
    for place in places:
        i = order[place]
        fit = found.fits[i]
        assert fit is not None
        title = f"{titles[place]}: {found.errors[i]:.1f}%, e_fit {fit.e_fit:.3f}"
        panels[title] = _panel(found.stages[i], fit)
    return panels


def _panel(stages: Stages, fit: Fit) -> Fitted:
    import numpy as np

    from dsd.plot.fit import Fitted

    return Fitted(np.repeat(stages.w[0], stages.d[0]), fit.blocks(), fit.straight())
