"""How NVIDIA's MPS is started and ended, on a stub of its program: that one is not ours to test."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from dsd.launch.mps import CONTROL, FOLDERS, mps

# Runs where $RUNNING exists; what it is told is kept in $TOLD.
STUB = """#!/bin/sh
if [ "$1" = -d ]; then
    echo "start $CUDA_MPS_PIPE_DIRECTORY visible=$CUDA_VISIBLE_DEVICES" >> "$TOLD"
    [ -z "$BROKEN" ] || exit 1
    touch "$RUNNING"
    sleep 30 &
    exit 0
fi
read -r word
echo "$word" >> "$TOLD"
[ -e "$RUNNING" ] || exit 1
[ "$word" != quit ] || rm "$RUNNING"
[ -z "$WAITS" ] || exec sleep 30
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub on PATH, and a GPU that works."""
    stub = tmp_path / "bin" / CONTROL
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("RUNNING", str(tmp_path / "running"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr("dsd.launch.mps.TRIAL", "import os; os.environ['CUDA_MPS_PIPE_DIRECTORY']")
    for key in FOLDERS:
        monkeypatch.delenv(key, raising=False)
    return tmp_path / "told"


def test_a_daemon_of_its_own_is_started_and_ended(told, tmp_path):
    with mps() as how:
        assert how == "through MPS"
        assert (tmp_path / "running").exists()
        folder = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(folder).is_dir()
    assert not (tmp_path / "running").exists()
    assert not Path(folder).exists()
    assert not set(FOLDERS) & set(os.environ)
    started = f"start {folder} visible="
    assert told.read_text().splitlines() == ["get_server_list", started, "quit"]


def test_it_is_ended_whatever_happens(told, tmp_path):
    with pytest.raises(KeyboardInterrupt), mps():
        raise KeyboardInterrupt
    assert not (tmp_path / "running").exists()


def test_one_that_waits_for_this_process_does_not_keep_it(told, tmp_path, monkeypatch):
    """As the real one does, until the last process with memory on the GPU has left."""
    monkeypatch.setattr("dsd.launch.mps.QUIT_S", 0.5)
    with mps():
        monkeypatch.setenv("WAITS", "1")
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    assert told.read_text().endswith("quit\n")
    assert not set(FOLDERS) & set(os.environ)


def test_one_that_runs_is_used_and_left_running(told, tmp_path):
    (tmp_path / "running").touch()
    with mps() as how:
        assert "a daemon runs already" in how
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/tmp/nvidia-mps", "its default"
    assert not set(FOLDERS) & set(os.environ)
    assert told.read_text() == "get_server_list\n"


def test_without_it_processes_take_turns(told, tmp_path, monkeypatch):
    with mps(wanted=False) as how:
        assert how == "by time slices (--no-mps)"
    assert not told.exists()
    monkeypatch.setattr("dsd.launch.mps.TRIAL", "raise SystemExit(1)")
    with mps() as how:
        assert how == "by time slices (MPS does not work here)"
        assert not set(FOLDERS) & set(os.environ), "what is started now shall not look for it"
        assert not (tmp_path / "running").exists()
    monkeypatch.setenv("BROKEN", "1")
    with mps() as how:
        assert how == "by time slices (MPS does not work here)"
    monkeypatch.setenv("PATH", "/nowhere")
    with mps() as how:
        assert how == f"by time slices ({CONTROL} is not on PATH)"
