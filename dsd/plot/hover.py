"""Figures inside a page: SVG text, with points that a script can find again."""

from __future__ import annotations

import io
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dsd.plot.style import styled

HOVER = "hover-"


def mark(axes: Axes, x: ArrayLike, y: ArrayLike, name: str) -> list[int]:
    """Put invisible marks at the points (n,) inside the axes' limits, as group `hover-name`.

    Their indices, in the order in which the marks stand in the SVG.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    kept = np.flatnonzero((xs >= left) & (xs <= right) & (ys >= low) & (ys <= high))
    axes.plot(xs[kept], ys[kept], "o", ms=3, mew=0, alpha=0, gid=HOVER + name, label="_marks")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    return [int(index) for index in kept]


def svg(figure: Figure, prefix: str) -> str:
    """The figure as an <svg> element that fills its place; ids get a prefix, as pages need it."""
    text = io.StringIO()
    with styled():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    found = re.search(r"<svg.*</svg>", text.getvalue(), re.DOTALL)
    assert found is not None, "matplotlib writes an svg element"
    element = re.sub(r"<metadata>.*?</metadata>", "", found[0], flags=re.DOTALL)
    head, body = element.split(">", 1)
    size = re.search(r'viewBox="[^"]*"', head)
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size[0] if size else ""}>'
    body = re.sub(r'\bid="(?!hover-)', f'id="{prefix}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body)
    return opening + re.sub(r"\n\s*", "\n", body)
