"""What the analysis commands share: which networks, at what level, and in which form to answer."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.plot.files import Figure

Command = Callable[..., Any]
CHOICE: dict[str, Callable[[Command], Command]] = {
    "where": click.option(
        "--where", default="", metavar="EXPR",
        help="Only networks that meet this, such as 'd <= 20 and w4 > 2 * w3'."),
    "prefix": click.option(
        "--prefix", is_flag=True,
        help="Only networks before the first unfinished one, in sampling order."),
    "metric": click.option(
        "--metric", type=click.Choice(["last", "lowest"]), default="last", show_default=True,
        help="Error of the last epoch, or the lowest of all."),
    "confidence": click.option(
        "--confidence", type=click.FloatRange(0, 1, True, True), default=0.95, show_default=True,
        help="Level of intervals, bands and verdicts."),
}  # fmt: skip
FORM: dict[str, Callable[[Command], Command]] = {
    "plot": click.option(
        "--plot", is_flag=False, flag_value="", default=None, metavar="[FILE]",
        help="Draw it: PNG, PDF or SVG by the ending; without a file <command>-<spaces>.png."),
    "show": click.option("--show", is_flag=True, help="Draw it, and open the figure."),
    "as_json": click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    "as_csv": click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV."),
}  # fmt: skip
FIGURE = ("plot", "show")


@dataclass(frozen=True)
class Form:
    """How the answer is given."""

    as_json: bool = False
    as_csv: bool = False
    plot: str | None = None
    show: bool = False

    def print(
        self,
        data: Mapping[str, Any],
        rows: Iterable[Mapping[str, Any]],
        table: Callable[[], None],
        warnings: Iterable[str] = (),
    ) -> None:
        """The answer as JSON (`data`), as CSV (`rows`) or as text (what `table` prints).

        Limits of an interval [low, high] are two columns of the CSV. Warnings go to stderr.
        """
        if self.as_json:
            click.echo(json.dumps(data, indent=2))
        elif self.as_csv:
            import pandas as pd

            click.echo(pd.DataFrame([_flat(row) for row in rows]).to_csv(index=False), nl=False)
        else:
            table()
        for line in warnings:
            click.echo(line, err=True)

    def draw(self, figure: Callable[[], Figure], *names: str) -> None:
        """Write the figure, where one is asked for; by default under the command and `names`."""
        if self.plot is None and not self.show:
            return
        from dsd.plot.files import save

        path = save(
            figure(), self.plot or default_name(click.get_current_context().info_name, names)
        )
        click.echo(f"Wrote {path}", err=self.as_json or self.as_csv)
        if self.show and click.launch(str(path)):
            click.echo(f"No program of this machine opens {path}.", err=True)


def answering(*choices: str, figure: bool = True) -> Callable[[Command], Command]:
    """The command gets the lab, its own arguments, `choices` among CHOICE, and `form`.

    Options are --json and --csv, and --plot and --show where there is a `figure`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def asked(*args: Any, **given: Any) -> Any:
            form = Form(**{name: given.pop(name) for name in FORM if name in given})
            if form.as_json and form.as_csv:
                raise click.UsageError("--json and --csv exclude each other.")
            if form.plot:
                from dsd.plot.files import writable

                writable(form.plot)
            return command(*args, **given, form=form)

        options = [CHOICE[name] for name in choices]
        options += [option for name, option in FORM.items() if figure or name not in FIGURE]
        return functools.reduce(
            lambda made, option: option(made), reversed(options), pass_lab(asked)
        )

    return decorate


def default_name(command: str | None, names: Sequence[str]) -> str:
    """edf-anynetx_d-anynetx_e.png"""
    parts = [command or "figure", *(re.sub(r"[^\w.]+", "-", name).strip("-") for name in names)]
    return "-".join(parts)[:200] + ".png"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key.endswith("_interval"):
            flat[f"{key}_low"], flat[f"{key}_high"] = value or (None, None)
        else:
            flat[key] = value
    return flat


def several(kind: type) -> Callable[[click.Context, click.Parameter, str], tuple[Any, ...]]:
    """Reads numbers between commas; a click callback."""

    def read(context: click.Context, option: click.Parameter, text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise click.BadParameter(f"'{text}': numbers between commas, such as 1,2.") from None

    return read
