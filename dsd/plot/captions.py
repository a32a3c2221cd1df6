"""What stands around the axes: small print below, a legend where it covers nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import text_to_path

from dsd.plot.style import SETTINGS, SMALL

ROW = 0.14  # inches of a line of small print
POINTS = 72  # to the inch
MARGIN = 0.02  # of the figure's width; more is left, as glyphs are rounded to pixels


def small_print(figure: Figure, notes: Iterable[str], *, centre: bool = False) -> None:
    """The notes, each from a new line, below the axes; the figure grows by what they take."""
    room = (1 - 5 * MARGIN) * figure.get_figwidth() * POINTS
    lines = [line for note in notes for line in _lines(note, room)]
    if not lines:
        return
    place = {"x": 0.5, "ha": "center"} if centre else {"x": MARGIN, "ha": "left"}
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color="#555555", **place)
    figure.set_figheight(figure.get_figheight() + ROW * len(lines))


def _lines(text: str, room: float) -> Iterator[str]:
    """The text in lines of small print at most `room` points wide, broken between words."""
    font = FontProperties(family=SETTINGS["font.sans-serif"], size=SMALL)

    def width(part: str) -> float:
        return float(text_to_path.get_text_width_height_descent(part, font, ismath=False)[0])

    line = ""
    for word in text.split():
        if line and width(f"{line} {word}") > room:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        while width(line) > room:  # a word without a blank to break at
            fits = next(k for k in range(len(line) - 1, 0, -1) if width(line[:k]) <= room)
            yield line[:fits]
            line = line[fits:]
    if line:
        yield line


def place_legend(figure: Figure, axes: Axes) -> None:
    """In the upper right of the axes where it covers no curve or band; above them otherwise."""
    inside = axes.legend(loc="upper right")
    inside.set_in_layout(False)
    figure.draw_without_rendering()
    if not _covers(axes, inside):
        return
    inside.remove()
    legend_above(figure, axes)


def _covers(axes: Axes, legend: Legend) -> bool:
    box = legend.get_window_extent()
    whole = axes.get_window_extent()
    if box.width > 0.9 * whole.width or box.height > 0.9 * whole.height:
        return True
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.get_lines()]
    bands = [
        path.transformed(one.get_transform())
        for one in axes.collections
        for path in one.get_paths()
    ]
    return any(path.intersects_bbox(box, filled=False) for path in lines) or any(
        path.intersects_bbox(box, filled=True) for path in bands
    )


def legend_above(figure: Figure, axes: Axes) -> None:
    """A legend above the axes of the figure, which grows by it; smaller where names are long."""
    figure.set_figheight(figure.get_figheight() + ROW * len(axes.get_legend_handles_labels()[1]))
    above = figure.legend(loc="outside upper left")
    figure.draw_without_rendering()
    room = figure.bbox.width / above.get_window_extent().width
    if room < 1:  # long names
        above.remove()
        figure.legend(loc="outside upper left", fontsize=0.95 * room * SMALL)
