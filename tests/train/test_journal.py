"""The log of a worker: whole lines, whoever shares the file; nothing secret; never in the way."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dsd.errors import DsdError, UsageError
from dsd.store.location import database_url, hidden
from dsd.store.results import frame
from dsd.store.steer import cancel, pause
from dsd.train.events import Event, Hear
from dsd.train.journal import Journal, check_place, open_journal
from dsd.train.loop import Epoch
from dsd.train.stop import Stop
from tests.train.conftest import fill, make_regime, small_arch
from tests.train.test_worker import finish_all

QUICK = {"epochs": 1, "batch": 500}
WRITER = """
import sys; from pathlib import Path
from dsd.train.events import Voice; from dsd.train.journal import open_journal
voice = Voice(open_journal(Path(sys.argv[1]), str, print), sys.argv[2])
for number in range(400): voice.tell("epoch", epoch=number, message=sys.argv[2] * 500)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def journal(path: Path, said: Any) -> Journal:
    return open_journal(path, str, said.say)


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def doing(name: str, action: Callable[[Event], None], then: Hear) -> Hear:
    """Tell `then`, and do something at the first event of that name."""
    done: list[str] = []

    def hear(event: Event) -> None:
        then(event)
        if event.name == name and not done:
            done.append(name)
            action(event)

    return hear


def test_a_network_s_training_from_claim_to_result(store, journal, path):
    fill(store, [small_arch(8)], make_regime())
    finish_all(store, hear=journal, launched="local 7.0")
    lines = told(path)
    names = ["started", "claimed", "epoch", "epoch", "ended", "stopped"]
    assert [line["event"] for line in lines] == names
    run = frame(store).iloc[0]
    assert {line["slot"] for line in lines} == {"local 7.0"}
    for line in lines[1:5]:
        assert (line["run"], line["digest"]) == (run["run"], run["digest"])
        assert line["population"] == "hand@small#0"
        assert (line["network"], line["regime"], line["attempt"]) == ("hand, network 0", "small", 1)
    epochs = [{key: line[key] for key in Epoch.__dataclass_fields__} for line in lines[2:4]]
    assert [asdict(Epoch(**epoch))["epoch"] for epoch in epochs] == [1, 2]
    assert lines[4]["error_last"] == run["error_last"] == epochs[-1]["test_error"]
    assert (lines[4]["state"], lines[4]["recorded"], lines[4]["message"]) == ("done", True, None)


def test_ends_without_a_result_say_why(store, journal, path):
    fill(store, [small_arch(8)], make_regime("wild", train={"lr": 1e30, "batch": 500}), "wild")
    fill(store, [small_arch(8, block="Q")], make_regime(train=QUICK), "broken")
    finish_all(store, hear=journal)
    ends = {line["population"]: line for line in told(path) if line["event"] == "ended"}
    wild, broken = ends["wild@wild#0"], ends["broken@small#0"]
    assert (wild["state"], wild["error_last"], wild["recorded"]) == ("diverged", 90.0, True)
    assert "loss is" in wild["message"]
    assert (broken["state"], broken["message"]) == ("failed", "KeyError: 'Q'")
    assert "error_last" not in broken


def test_what_is_given_back_lost_resumed_or_not_taken_is_told(store, journal, path, tmp_path):
    slow = make_regime("slow", train={"epochs": 400, "batch": 500})
    fill(store, [small_arch(8)], slow)
    fill(store, [small_arch(8)], make_regime("cifar", dataset="cifar10"), "elsewhere")
    given: dict[str, Any] = {"folder": tmp_path, "checkpoints": tmp_path / "kept", "max_runs": 1}
    stop = Stop()
    asked = doing("epoch", lambda _: stop.after_epoch(), journal)
    finish_all(store, hear=asked, stop=stop, **given)
    gone = doing("epoch", lambda event: cancel(store, [event.claim.run_id]) and None, journal)
    finish_all(store, hear=gone, **given)
    pause(store, [2])
    idle = Stop()
    bored = doing("waiting", lambda _: None, doing("paused", lambda _: idle.set(), journal))
    fill(store, [small_arch(16)], slow, "other")
    pause(store, [3])
    finish_all(store, hear=bored, stop=idle, exit_when_empty=False, **given)
    lines = told(path)
    assert [line["event"] for line in lines] == [
        "left-out", "started", "claimed", "epoch", "released", "stopped",
        "left-out", "started", "claimed", "resumed", "epoch", "lost", "stopped",
        "started", "waiting", "paused", "stopped",
    ]  # fmt: skip
    assert lines[0]["regime"] == "cifar"
    assert lines[0]["message"].startswith("Dataset 'cifar10'")
    assert (lines[9]["epoch"], lines[10]["epoch"], lines[10]["attempt"]) == (1, 2, 2)
    assert lines[15]["networks"] == 2


def test_a_refusal_and_what_ended_a_worker_are_told_without_a_trace(store, journal, path, tmp_path):
    fill(store, [small_arch(8)], make_regime("cifar", dataset="cifar10"))
    with pytest.raises(DsdError):
        finish_all(store, hear=journal, folder=tmp_path)
    fill(store, [small_arch(8)], make_regime("twelve", classes=12), "twelve")
    with pytest.raises(DsdError):
        finish_all(store, hear=journal, populations=[2])
    lines = told(path)
    events = ["refused", "started", "claimed", "released", "stopped"]
    assert [line["event"] for line in lines] == events
    assert lines[0]["worker"] is None
    assert "cifar10" in lines[0]["message"]
    assert "classes = 12" in lines[-1]["message"]
    assert "\n" not in lines[-1]["message"]


def test_processes_and_threads_share_a_file_line_by_line(path):
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [one.wait(60) for one in writers] == [0, 0, 0]
    table = pd.read_json(path, lines=True, dtype=False)
    assert len(table) == 1200
    for name, own in table.groupby("slot"):
        assert own["epoch"].tolist() == list(range(400))
        assert set(own["message"]) == {name * 500}


def test_a_full_disk_is_said_once_and_training_goes_on(store, said):
    fill(store, [small_arch(8)], make_regime(train=QUICK))
    full = open_journal(Path("/dev/full"), str, said.say)
    assert finish_all(store, hear=full) == 1
    assert said.lines == ["Nothing is logged to /dev/full: No space left on device. Training goes "
                          "on."]  # fmt: skip


def test_a_line_cut_by_a_full_disk_spoils_no_other(tmp_path, said):
    """A file-size limit cuts a line like a full disk does, in a process of its own."""
    path = tmp_path / "log.jsonl"
    code = """
import resource, signal, sys; from pathlib import Path
from dsd.train.events import Voice; from dsd.train.journal import open_journal
voice = Voice(open_journal(Path(sys.argv[1]), str, print))
for limit in (1000, -1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    for number in range(9): voice.tell("epoch", epoch=number, message="m" * 100)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("Nothing is logged")) == (0, 1), done.stderr
    whole, cut = [], 0
    for line in path.read_text().splitlines():
        try:
            whole.append(json.loads(line)["epoch"])
        except ValueError:
            cut += 1
    assert cut == 1
    assert whole[-9:] == list(range(9))


def test_no_password_is_logged_however_it_is_written(path, said):
    url = database_url("postgresql://lab:p%40ss%20word%2F1@server/lab?sslpassword=other%2Bone")
    voice = open_journal(path, partial(hidden, url), said.say)
    why = 'no "p@ss word/1" nor "p%40ss%20word%2F1" nor "other+one"'
    voice(Event("stopped", about={"message": why, "lr": math.nan, "where": Path("a")}))
    (line,) = told(path)
    assert line["message"] == 'no "***" nor "***" nor "***"'
    assert (line["lr"], line["where"]) == (None, "a")


def test_a_log_must_lie_in_a_folder_that_is_there(tmp_path, said):
    for place in (tmp_path, tmp_path / "none" / "log.jsonl", Path("")):
        with pytest.raises(UsageError, match="cannot be written"):
            open_journal(place, str, said.say)
        with pytest.raises(UsageError, match="cannot be written"):
            check_place(place)
    check_place(tmp_path / "new.jsonl")
    assert not list(tmp_path.iterdir())
