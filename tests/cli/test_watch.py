"""What the row of a worker in this process shows at each of its events."""

from __future__ import annotations

from pathlib import Path

from dsd.cli.watch import Own
from dsd.cli.worker_table import Row
from dsd.store.engine import open_store
from dsd.train.events import Event
from dsd.train.pulse import Pulse
from dsd.train.stop import Stop
from tests.train.conftest import fill, make_regime, small_arch
from tests.train.test_worker import finish_all


def test_the_row_follows_the_worker_from_start_to_end(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "dsd.db"))
    fill(store, [small_arch(8), small_arch(16)], make_regime(train={"epochs": 4, "batch": 1000}))
    stop, pulse = Stop(), Pulse()
    own = Own(pulse)
    seen: list[tuple[str, Row]] = [("", own.row())]

    def hear(event: Event) -> None:
        own.hear(event)
        seen.append((event.name, own.row()))
        if event.name == "waiting":
            stop.set()

    finish_all(store, hear=hear, pulse=pulse, stop=stop, exit_when_empty=False)
    assert [name for name, _ in seen] == [
        "", "started", *["claimed", *["epoch"] * 4, "ended"] * 2, "waiting", "stopped",
    ]  # fmt: skip
    rows = [row for _, row in seen]
    assert rows[0].cells["network"] == "(starting)"
    assert rows[1].cells["device"].startswith("CPU")
    shares = [row.share for name, row in seen if name in ("claimed", "epoch")]
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0] * 2
    first, second = rows[2], rows[8]
    assert (first.cells["network"], second.cells["network"]) == (
        "hand, network 0", "hand, network 1",
    )  # fmt: skip
    assert [row.cells["epoch"] for row in rows[2:7]] == ["0/4", "1/4", "2/4", "3/4", "4/4"]
    assert second.cells["loss"] == second.cells["error"] == second.cells["left"] == ""
    assert rows[3].cells["loss"]
    assert rows[3].cells["error"].endswith("%")
    assert rows[6].cells["left"] == "0:00"
    assert [row.cells["ended"] for row in rows[-2:]] == ["2", "2"]
    assert (rows[-2].cells["network"], rows[-2].cells["step"].strip()) == ("(waiting)", "")
    store.close()


def test_a_pulse_counts_what_was_launched_and_guesses_no_speed(monkeypatch) -> None:
    clock = iter([100.0, *[100.5] * 20, *[110.0] * 100])
    monkeypatch.setattr("dsd.train.pulse.time.monotonic", lambda: next(clock))
    pulse = Pulse(100, 64)
    for _ in range(11):
        pulse.beat()
    assert (pulse.launched, pulse.images_per_s) == (11, None), "half a second says little"
    for _ in range(20):
        _ = pulse.images_per_s
    assert pulse.images_per_s == 10 * 64 / 10
    for _ in range(89):
        pulse.beat()
    assert pulse.images_per_s is None, "the test has begun"
    pulse.epoch()
    assert (pulse.launched, pulse.images_per_s) == (0, None)
