"""The width of every block of a network (RegNet, fig. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsd.columns import stages_named
from dsd.errors import DsdError
from dsd.plot.style import HEIGHT, SMALL, WIDTH, look, styled

PER_LINE = 5  # small pictures side by side


def stages_of(row: Mapping[Any, Any]) -> list[tuple[int, int]]:
    """(depth, width) of each stage of a network, a row with the columns d1, w1, d2, w2, ..."""
    pairs = [(row.get(f"d{i + 1}"), row.get(f"w{i + 1}")) for i in range(stages_named(row))]
    return [(int(d), int(w)) for d, w in pairs if d is not None and w is not None and d == d]


def plot_widths(networks: Mapping[str, Sequence[tuple[int, int]]]) -> Figure:
    """Steps of block widths in channels over the block's index, from (d, w) of each stage.

    A dot marks each block; a stage is a run of equal width. Raises DsdError for no network.
    """
    if not networks:
        raise DsdError("No network to draw.")
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot(xlabel="block index", ylabel="width (channels)")
        for index, (name, stages) in enumerate(networks.items()):
            widths = np.repeat([w for _, w in stages], [d for d, _ in stages])
            style = look(index)
            axes.plot(widths, drawstyle="steps-mid", marker="o", markersize=3, label=name,
                      color=style.color, ls=style.dashes)  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper left")
    return figure


def plot_many(rows: Mapping[str, Sequence[tuple[str, Sequence[tuple[int, int]]]]]) -> Figure:
    """Small pictures of block widths, side by side (RegNet, fig. 6).

    Each row's name -> (title, (d, w) of each stage) of its networks; all share both axes.
    """
    lines = [
        (name, list(networks[start : start + PER_LINE]))
        for name, networks in rows.items()
        for start in range(0, len(networks), PER_LINE)
    ]
    if not lines:
        raise DsdError("No network to draw.")
    across = max(len(networks) for _, networks in lines)
    with styled():
        size = (WIDTH * 2 * across / PER_LINE + 0.4, 0.95 * len(lines) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(lines), across, sharex=True, sharey=True, squeeze=False)
        for i, (name, networks) in enumerate(lines):
            for j, axes in enumerate(grid[i]):
                if j >= len(networks):
                    axes.set_axis_off()
                    continue
                title, stages = networks[j]
                widths = np.repeat([w for _, w in stages], [d for d, _ in stages])
                axes.stairs(widths, fill=True, color=look(0).color, alpha=0.75)
                axes.set_title(title, fontsize=SMALL, pad=2)
                axes.set_yscale("log", base=2)
                axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
                axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            grid[i][0].set_ylabel(name)
        figure.supxlabel("block", fontsize=8)
        figure.supylabel("width (channels)", fontsize=8)
    return figure
