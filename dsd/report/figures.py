"""The figures of a report, as SVG, and which network each of their points is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dsd.analysis.edf import edf, evaluate
from dsd.plot.best import plot_best
from dsd.plot.edf import plot_edfs
from dsd.plot.hover import mark, svg
from dsd.plot.learning import plot_learning
from dsd.plot.search import plot_search
from dsd.plot.trends import plot_trends
from dsd.plot.widths import plot_many, stages_of
from dsd.report.contents import Contents, Part
from dsd.where import values

PANELS = 4  # best ranges of one population that are drawn


@dataclass(frozen=True)
class Drawing:
    """One figure: what it shows, as SVG; points: group -> (population, rows of its networks)."""

    title: str
    text: str
    svg: str
    points: dict[str, tuple[int, list[int]]] = field(default_factory=dict)


def distributions(contents: Contents) -> Drawing:
    """The EDFs, each network findable on its curve."""
    study = contents.study
    figure = plot_edfs(study.errors, confidence=study.confidence, weights=study.weights)
    axes, points = figure.axes[0], {}
    for i, part in enumerate(contents.parts):
        ranked = np.argsort(part.errors, kind="stable")
        errors = part.errors[ranked]
        # a network lies on the step that it makes, not below it
        height = evaluate(edf(part.errors), np.nextafter(errors, np.inf))
        kept = mark(axes, errors, height, f"edf-{i}")
        points[f"edf-{i}"] = (i, ranked[kept].tolist())
    text = (
        "Share of networks with an error below the one on the axis; a curve further left is a "
        f"better space. Shaded: {100 * study.confidence:g}% band at each error. Brackets: "
        "[minimum | mean]."
    )
    return Drawing("Error distributions", text, svg(figure, "edf"), points)


def random_search(contents: Contents) -> Drawing:
    """The best to expect of m networks."""
    figure = plot_search({part.name: part.search for part in contents.parts})
    text = "The best error to expect of so many random networks of each space."
    return Drawing("Random search", text, svg(figure, "search"))


def best_ranges(contents: Contents) -> Iterator[Drawing]:
    """A figure of each population: errors against what its networks differ in."""
    for i, part in enumerate(contents.parts):
        names = list(part.ranges)[:PANELS]
        if not names:
            continue
        xs = {name: values(part.table, name) for name in names}
        figure = plot_best({n: (x, part.errors, part.ranges[n]) for n, x in xs.items()})
        points = {}
        for k, (axes, x) in enumerate(zip(figure.axes, xs.values(), strict=True)):
            points[f"best-{i}-{k}"] = (i, mark(axes, x, part.errors, f"best-{i}-{k}"))
        text = "Shaded: the range that holds the best networks; line: the likeliest best."
        yield Drawing(part.name, text, svg(figure, f"best{i}"), points)


def trends(contents: Contents) -> Iterator[Drawing]:
    """The best values of a space against compute."""
    for i, (space, found) in enumerate(contents.trends.items()):
        text = (
            f"Best values of {', '.join(found.names)} against compute, with their ranges. Each "
            "regime ranks its own networks; errors are not compared between regimes."
        )
        yield Drawing(f"Trends: {space}", text, svg(plot_trends(found.columns), f"trends{i}"))


def learning(contents: Contents) -> Drawing | None:
    """Errors over the epochs; None where no population knows them."""
    curves = {part.name: part.curves for part in contents.parts if part.curves.shape[1]}
    if not any(np.isfinite(table).any() for table in curves.values()):
        return None
    text = "Median test error after each epoch; shaded: the middle half of the networks."
    return Drawing("Learning curves", text, svg(plot_learning(curves), "learning"))


def networks(contents: Contents) -> Iterator[Drawing]:
    """The best and the worst networks of each population as pictures of their widths."""
    error = f"error_{contents.study.metric}"
    for i, part in enumerate(contents.parts):
        if not _has_widths(part):
            continue
        rows = {
            name: [(f"{row[error]:.1f}%", stages_of(row)) for row in table.to_dict("records")]
            for name, table in part.extremes(contents.study.metric).items()
        }
        text = "Width of every block, first to last; above each network its error."
        yield Drawing(part.name, text, svg(plot_many(rows), f"networks{i}"))


def _has_widths(part: Part) -> bool:
    return "w1" in part.table and "d1" in part.table
