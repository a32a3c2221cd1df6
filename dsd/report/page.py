"""From contents to one HTML file that needs nothing beside it."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

from dsd.analysis.verdict import p_text
from dsd.report import figures
from dsd.report.contents import Contents, Part

FOLDER = Path(__file__).parent
DIGITS = 6


def page(contents: Contents) -> str:
    """The report as HTML: styles, script, figures and data inside."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    loader = FileSystemLoader(FOLDER)
    environment = Environment(
        loader=loader, autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"signed": signed, "limits": limits, "p_text": p_text, "day": day}
    drawn = {
        "distributions": figures.distributions(contents),
        "search": figures.random_search(contents),
        "ranges": list(figures.best_ranges(contents)),
        "trends": list(figures.trends(contents)),
        "learning": figures.learning(contents),
        "networks": list(figures.networks(contents)),
    }
    return environment.get_template("page.html").render(
        contents=contents, study=contents.study, level=f"{100 * contents.study.confidence:g}%",
        script=(FOLDER / "page.js").read_text(encoding="utf-8"),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        data=_script_safe(data(contents, drawn)), **drawn,
    )  # fmt: skip


def data(contents: Contents, drawn: dict[str, Any]) -> dict[str, Any]:
    """What the page's script reads: the networks, and which point of a figure is which."""
    each = [one for some in drawn.values() for one in (some if isinstance(some, list) else [some])]
    points = {name: where for one in each if one for name, where in one.points.items()}
    return {
        "error": f"error_{contents.study.metric}",
        "populations": [_networks(part) for part in contents.parts],
        "points": points,
    }


def _networks(part: Part) -> dict[str, Any]:
    rows = part.table[part.columns].itertuples(index=False)
    return {
        "name": part.name,
        "columns": part.columns,
        "rows": [[_plain(value) for value in row] for row in rows],
    }


def _plain(value: Any) -> Any:
    """A number short enough to read, a text, or null."""
    if isinstance(value, str) or value is None:
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    if number == int(number):
        return int(number)
    return float(f"{number:.{DIGITS}g}")


def _script_safe(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def signed(value: float) -> str:
    """+1.2"""
    return f"{value:+.1f}"


def limits(interval: Any, form: str = ".1f") -> str:
    """[1.0, 2.0], of an Interval or a list; nothing for None."""
    if interval is None:
        return ""
    low, high = interval if isinstance(interval, list) else (interval.low, interval.high)
    return f"[{low:{form}}, {high:{form}}]"


def day(seconds: float) -> str:
    """2026-11-24 21:31 UTC"""
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"
