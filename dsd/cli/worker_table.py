"""A row for each worker, and a crew's rows as a table that fits its terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsd.cli.text import duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from dsd.launch.crew import Crew, Slot
    from dsd.store.engine import Store
    from dsd.store.fleet import WorkerAt

COLUMNS = ("device", "network", "epoch", "images/s", "loss", "error", "left", "ended", "state")
LIVE = ("worker", "device", "network", "progress", "epoch", "step", "images/s", "loss", "error",
        "left", "ended")  # fmt: skip
SPARED = ("device", "ended", "progress", "loss", "step")  # on a narrow terminal, in this order
LEFT = ("host", "worker", "device", "network", "state")
WIDTHS = {"progress": 10, "epoch": 5, "loss": 5, "left": 7}  # at least, lest the table jump about
GAP = 2


def cells(one: WorkerAt) -> dict[str, str]:
    """COLUMNS of one worker."""
    training = one.network and one.state == "alive"
    return {
        "device": one.device,
        "network": one.network,
        "epoch": f"{one.epoch}/{one.epochs}" if one.epochs else "",
        "images/s": f"{one.images_per_s:,.0f}" if one.images_per_s else "",
        "loss": "" if one.loss is None else f"{one.loss:.3f}",
        "error": "" if one.error is None else f"{one.error:.1f}%",
        "left": "" if one.eta_seconds is None else duration(one.eta_seconds),
        "ended": str(one.ended),
        "state": "training" if training else "idle" if one.state == "alive" else one.state,
    }


@dataclass(frozen=True)
class Row:
    """A line of a live table: LIVE's cells, and the share of the network that is trained."""

    cells: Mapping[str, str]
    share: float | None = None


@dataclass(frozen=True)
class LiveTable:
    """Rows with LIVE's columns that any of them has; where it is narrow, without some of SPARED."""

    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.box import SIMPLE_HEAD
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # The box has one more character between columns.
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))
        columns = self.columns(options.max_width)
        for name, width in columns.items():
            left = name in (*LEFT, "progress")
            grid.add_column(name, justify="left" if left else "right", no_wrap=True,
                            min_width=width)  # fmt: skip
        for row in self.rows:
            drawn: dict[str, Any] = {name: Text(row.cells.get(name, "")) for name in columns}
            if "progress" in columns and row.share is not None:
                drawn["progress"] = ProgressBar(1.0, row.share, WIDTHS["progress"])
            grid.add_row(*drawn.values())
        yield grid

    def columns(self, width: int) -> dict[str, int]:
        """Those that fit, with their widths."""
        there = {name for row in self.rows for name in row.cells} | {"progress"}
        kept = {name: self._width(name) for name in LIVE if name in there}
        for name in SPARED:
            if sum(kept.values()) + GAP * (len(kept) - 1) > width:
                kept.pop(name, None)
        return kept

    def _width(self, name: str) -> int:
        cells = (len(row.cells.get(name, "")) for row in self.rows)
        return max(len(name), WIDTHS.get(name, 0), *cells)


def live_row(one: WorkerAt, **more: str) -> Row:
    """A worker's row: what it does stands in place of a network where it trains none."""
    shown = cells(one)
    if shown["state"] != "training":
        shown["network"] = " ".join(filter(None, (shown["network"], f"({shown['state']})")))
    return Row({**shown, **more}, one.epoch / one.epochs if one.epochs else None)


def crew_table(store: Store, crew: Crew) -> LiveTable:
    """A row for each of the crew's workers, as the database knows them.

    A worker that has a crew of its own ("local 4711.0.2" is of that of slot 0) shows that one's.
    """
    from dsd.store.fleet import by_slot, workers_at

    known = by_slot(workers_at(store, f"{crew.place}.", here=True))
    rows: list[Row] = []
    for number, slot in enumerate(crew.slots):
        within = [one for name, one in known.items()
                  if name.startswith(f"{slot.launched}.") and one.state != "stopped"]  # fmt: skip
        names = (one.launched.removeprefix(f"{crew.place}.") for one in within)
        rows += [live_row(one, worker=name) for one, name in zip(within, names, strict=True)]
        rows += [] if within else [_slot_row(number, slot, known.get(slot.launched))]
    return LiveTable(rows)


def _slot_row(number: int, slot: Slot, one: WorkerAt | None) -> Row:
    if one and slot.process and slot.process.pid == one.pid:
        return live_row(one, worker=str(number))
    waits = "closed" if slot.closed else "rests" if slot.deaths else "waits"
    state = "starting" if slot.process else waits
    blank = dict.fromkeys(COLUMNS, "")
    shown = {"worker": str(number), "device": " ".join(slot.device).strip("-"),
             "network": f"({state})", "ended": str(one.ended if one else 0)}  # fmt: skip
    return Row({**blank, **shown})
