"""What a worker shows: a display at a terminal's foot, plain lines elsewhere, a log of JSON."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import dsd
from dsd.cli.progress import QueueLine
from dsd.cli.worker_table import LIVE, SPARED, LiveTable, Row, crew_table
from dsd.launch.crew import Crew
from dsd.store import queue
from dsd.store.pace import Pace
from tests.cli.conftest import Shell
from tests.cli.terminal import Terminal, drawn

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
ALL = {"worker": "0", "device": "NVIDIA H100 80GB HBM3", "network": "anynetx_d@fashion, network 12",
       "epoch": "3/10", "step": "9,000/10,009", "images/s": "12,345", "loss": "0.532",
       "error": "14.2%", "left": "1:20:00", "ended": "12"}  # fmt: skip


def test_without_a_terminal_there_are_plain_lines_and_a_log_of_every_event(tiny: Shell) -> None:
    tiny.environment |= {"DSD_REGIME": "fashion", "FORCE_COLOR": "1"}
    tiny("sample", "anynetx_d", "--n", "2")
    out = tiny("worker", "--cpu", "--slots", "1", "--exit-when-empty", "--log", "log.jsonl")
    assert not CONTROL.search(out + tiny.stderr)
    assert [line.split(": ")[0] for line in out.splitlines()[2:]] == [
        "anynetx_d, network 0", "anynetx_d, network 1", "2 networks trained",
    ]  # fmt: skip
    table = pd.read_json(tiny.folder / "log.jsonl", lines=True, dtype=False)
    table["time"] = pd.to_datetime(table["time"])
    per_network = ["claimed", "epoch", "ended"]
    assert table["event"].tolist() == ["started", *per_network * 2, "stopped"]
    assert str(table["time"].dt.tz) == "UTC"
    assert table["time"].is_monotonic_increasing
    assert table["worker"].nunique() == table["pid"].nunique() == 1
    ended, epochs = table[table["event"] == "ended"], table[table["event"] == "epoch"]
    stored = dsd.open(str(tiny.folder / "dsd.db")).frame
    assert ended["error_last"].tolist() == stored["error_last"].tolist()
    assert ended["run"].tolist() == stored["run"].tolist()
    assert ended["digest"].tolist() == stored["digest"].tolist()
    assert set(ended["state"]) == {"done"}
    assert epochs["test_error"].tolist() == ended["error_last"].tolist()
    assert ended["population"].tolist() == ["anynetx_d@fashion#0"] * 2
    assert (epochs[["train_loss", "images_per_s", "seconds", "lr"]] > 0).all().all()


def test_a_log_that_cannot_be_written_is_an_error_at_the_start(tiny: Shell) -> None:
    for command in (("worker", "--cpu", "--log"), ("launch", "local", "--cpu", "--events")):
        said = tiny.fails(*command, "none/log.jsonl", code=2)
        assert said.startswith("Error: The log none/log.jsonl cannot be written: No such file")
    assert "Is a directory" in tiny.fails("worker", "--cpu", "--log", ".", code=2)


def test_a_terminal_shows_the_network_and_the_queue_below_the_lines(tiny: Shell) -> None:
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_d", "--n", "60")
    terminal = Terminal(tiny.folder, "-m", "dsd", "worker", "--cpu", "--slots", "1", NO_COLOR="1",
                        DSD_REGIME="fashion")  # fmt: skip
    terminal.until(
        lambda text: (
            text.count(": error") >= 2
            and "images/s" in text
            and re.search(r" [1-9]\d*/60 networks", text) is not None
        )
    )
    terminal.type("\x03")
    assert terminal.close() == 130
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h") == 1
    assert "\x1b[3" not in terminal.text, "no colour was asked for"
    seen = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text)
    assert re.search(r"network +progress +epoch +step +images/s +loss +error +left", seen)
    assert re.search(r"anynetx_d, network \d+ .* 0/1 +(\d+/39|test)", seen)
    screen = [line for line in terminal.lines if line]
    ended = sum(": error" in line for line in screen)
    assert re.fullmatch(r"queue +\S+ +\d+/60 networks .*", screen[-2]), screen
    assert screen[-1] == f"{ended} network{'s'[: ended != 1]} trained"
    assert "Leaving at the end of the epoch; Ctrl-C again leaves now." in screen
    printed = r"worker on|Training on|Leaving|anynetx_d, network \d+: |queue|\d+ networks? trained"
    assert all(re.match(printed, line) for line in screen), "nothing of the display was left behind"
    states = dsd.open(str(tiny.folder / "dsd.db")).frame["state"].value_counts()
    assert dict(states) == {"done": ended, "queued": 60 - ended}


@pytest.mark.parametrize(("kind", "draws"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_cannot_draw_gets_plain_lines(tiny: Shell, kind: str, draws: bool) -> None:
    code = "from dsd.cli.screen import on_terminal; print(on_terminal())"
    terminal = Terminal(tiny.folder, "-c", code, TERM=kind)
    assert terminal.close() == 0
    assert terminal.lines[0] == str(draws)


def test_whatever_prints_stands_above_the_display_in_whole_lines(tiny: Shell) -> None:
    code = """
import os, sys, subprocess, threading, warnings
from rich.text import Text
from dsd.cli.screen import screen
def shout(name):
    for i in range(50):
        stream = sys.stderr if i % 2 else sys.stdout
        stream.write(f"{name} {i}\\n")  # print would write the line's end apart
        stream.flush()
with screen() as draw:
    threads = [threading.Thread(target=shout, args=(name,)) for name in "ab"]
    for one in threads: one.start()
    for i in range(100): draw(Text("\\n".join(["display"] * (1 + i % 3) + ["foot"])))
    os.write(2, b"from a signal\\n")
    subprocess.run(["sh", "-c", "echo from C >&2"])
    warnings.warn("one", stacklevel=1)
    for one in threads: one.join()
    draw(Text("display\\nfoot"))
print("end")
"""
    terminal = Terminal(tiny.folder, "-c", code, columns=60)
    assert terminal.close() == 0
    screen = [line for line in terminal.lines if line]
    assert screen[-3:] == ["display", "foot", "end"]
    said = [line for line in screen[:-3] if not line.startswith("<string>")]
    assert not {"display", "foot"} & set(said)
    for name in "ab":
        assert [one for one in said if one[:2] == f"{name} "] == [f"{name} {i}" for i in range(50)]
    assert {"from a signal", "from C"} <= set(said)
    assert any("UserWarning: one" in line for line in screen)


@pytest.mark.parametrize("width", range(40, 200, 7))
def test_the_table_and_the_bar_fit_their_terminal(width: int) -> None:
    table = LiveTable([Row(ALL, 0.34), Row({**ALL, "network": "(starting)"})])
    kept = list(table.columns(width))
    assert kept == [name for name in LIVE if name in kept]
    assert set(LIVE) - set(kept) <= set(SPARED)
    now = Pace(13, 48, 2, 12.1, 12345.6, 312.4, 4050.0)
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(table, QueueLine(now), end="")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 5, "no cell is broken"
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "13/48" in lines[-1]
    if width > 75:
        assert "about 1:07:30 left" in lines[-1]
    if width > 150:
        assert kept == list(LIVE)
        assert "312/h  12,346 images/s  best 12.1%" in lines[-1]


def test_a_crew_s_rows_are_what_the_database_knows_of_its_workers(tmp_path: Path) -> None:
    tiny = Shell(tmp_path)
    tiny("sample", "anynetx_d", "--n", "3", "--regime", "fashion")
    store = dsd.open(str(tiny.folder / "dsd.db")).store
    crew = Crew([], [["--cpu"], ["--gpu", "0"], ["--cpu"]], place="local 7")
    queue.register_worker(store, "CPU", "local 7.0")  # by another process than the slot's
    inner = [queue.register_worker(store, "H100", f"local 7.1.{i}") for i in range(3)]
    queue.retire_worker(store, inner[2])
    held = queue.claim(store, inner[0])
    assert held
    for epoch in (1, 2):
        seen = {"seconds": 50.0, "images_per_s": 1234.4, "train_loss": 1.5, "test_error": 40.25}
        assert queue.record_epoch(store, held, {"epoch": epoch, **seen})
    rows = crew_table(store, crew).rows
    assert [row.cells["worker"] for row in rows] == ["0", "1.0", "1.1", "2"]
    assert [row.cells["network"] for row in rows] == [
        "(waits)", "anynetx_d@fashion, network 0", "(idle)", "(waits)",
    ]  # fmt: skip
    shown = [rows[1].cells[name] for name in ("device", "epoch", "images/s", "loss", "error")]
    assert shown == ["H100", "2/4", "1,234", "1.500", "40.2%"]
    assert rows[1].cells["left"] in ("1:40", "1:39", "1:38")
    assert rows[1].share == 0.5
    assert [row.share for row in rows if row is not rows[1]] == [None] * 3
    store.close()


def test_what_a_terminal_makes_of_control_sequences() -> None:
    assert drawn("one\r\ntwo\r\x1b[2K\x1b[1A\x1b[2Kthree\r\n", 9) == ["three", ""]
    assert drawn("abcd", 3) == ["abc", "d"]
