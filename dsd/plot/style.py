"""One style for every figure: a two-column paper's column, legible without colour."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis

from dsd.analysis.checks import FloatArray

WIDTH = 3.4  # inches: one column of a two-column paper
HEIGHT = 2.35
LARGE = 1e4
SMALL = 6.5  # points, for what explains the rest

# Okabe and Ito's colours, told apart by colour-blind readers; their yellow is too pale on paper.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (4, 1.3)),
    (0, (0.9, 0.9)),
    (0, (6, 1.2, 0.9, 1.2)),
    (0, (1.8, 1.8)),
    (0, (9, 1.8)),
)

# For letters that DejaVu lacks, as of names in Chinese or Japanese: what a machine has of these.
OTHERS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Hiragino Sans",
          "Microsoft YaHei", "Droid Sans Fallback")  # fmt: skip

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # travels with matplotlib: the same figure everywhere
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "legend.fontsize": SMALL,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.framealpha": 0.9,  # the grid does not run through the numbers
    "legend.handlelength": 2.6,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.4,
    "text.parse_math": False,  # names are names, whatever they hold
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # fonts embedded whole: conferences refuse type 3
    "svg.fonttype": "path",  # outlines: the same picture where the font is missing
    "svg.hashsalt": "dsd",  # the same figure gives the same file
}


@dataclass(frozen=True)
class Look:
    """How one population is drawn: told apart by its dashes alone, too."""

    color: str
    dashes: Any


def short(value: float, digits: int = 3) -> str:
    """A tick's number without a power of ten: 0.5, 200M, 3.2G."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if max(unit, LARGE) <= abs(value) < 1000 * unit:
            return f"{value / unit:.{digits}g}{name}"
    return f"{value:g}" if abs(value) < LARGE else f"{value:.{digits}g}"


def large_ticks(axis: Axis, values: FloatArray) -> None:
    """Ticks of large values (n,) in k, M and G, where matplotlib would put a power of ten aside."""
    known = values[np.isfinite(values)]
    most = float(np.abs(known).max(initial=0))
    if most < LARGE:
        return
    spread = float(np.ptp(known)) or most
    digits = 2 + math.ceil(math.log10(most / spread + 1))
    axis.set_major_formatter(lambda value, place: short(value, digits))


def look(index: int) -> Look:
    """The look of the index-th curve of a figure; 42 differ before one comes again."""
    return Look(COLORS[index % len(COLORS)], DASHES[index % len(DASHES)])


@contextmanager
def styled() -> Iterator[None]:
    """This style inside, the caller's own matplotlib settings untouched after."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        matplotlib.rcParams["font.family"] = ["sans-serif", *(x for x in OTHERS if x in there)]
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box says it, in the figure
        yield
