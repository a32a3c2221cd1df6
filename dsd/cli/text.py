"""Numbers and tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import click


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
) -> None:
    """Print aligned columns, as wide as their content: those of `left` left, the others right."""
    click.echo(table_text(headers, rows, left))


def table_text(
    headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
) -> str:
    """The same as text."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, header in enumerate(headers):
        grid.add_column(header, justify="left" if index in left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = Console(width=400, highlight=False)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def scientific(number: int, digits: int = 1) -> str:
    """1234567 -> 1.2e+06, of any size."""
    return f"{number if number < 10**300 else Decimal(number):.{digits}e}"


def si(x: float, unit: str = "") -> str:
    """360e6 -> 360M; three significant digits."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= factor:
            return f"{x / factor:.3g}{letter}{unit}"
    return f"{x:.3g}{unit}"


def duration(seconds: float) -> str:
    """75 -> 1:15; 3700 -> 1:01:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
