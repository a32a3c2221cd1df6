"""Steering a queue through the real command line."""

from __future__ import annotations

import json

import pytest


def test_runs_are_cancelled_retried_marked_and_deleted(dsd):
    dsd("sample", "anynetx_a", "--n", "12")
    assert "--yes" in dsd.fails("cancel", "anynetx_a", code=2)
    assert "2 queued" in dsd("cancel", "1", "2")
    said = dsd("retry", "1", "3")
    assert "left as they are: 1 queued" in said
    assert "1 run queued again (were 1 cancelled)" in said
    assert "1 queued" in dsd("cancel", "1")
    assert "10 queued" in dsd("cancel", "anynetx_a", "--yes")
    assert "None of these is queued" in dsd.fails("cancel", "anynetx_a", code=2)
    assert "12 cancelled" in dsd("retry", "anynetx_a", "--yes", "--where", "d > 0")
    assert len(json.loads(dsd("runs", "1", "3", "--json"))) == 2
    dsd("note", "anynetx_a", "hello")
    assert dsd("note", "anynetx_a").strip().endswith(": hello")
    dsd("tag", "3", "odd")
    (row,) = json.loads(dsd("runs", "--tag", "odd", "--json"))
    assert row["run"] == 3
    assert json.loads(dsd("runs", "3", "--json"))["tags"] == ["odd"]
    assert "--confirm" in dsd.fails("delete", "anynetx_a", code=2)
    assert "12 networks, 12 runs" in dsd("delete", "anynetx_a", "--confirm",
                                         "anynetx_a@imagenet_400mf#0")  # fmt: skip
    dsd("sample", "anynetx_a", "--n", "2")
    assert "2 networks" in dsd("delete", "anynetx_a", "--yes"), "no result to lose"
    assert json.loads(dsd("status", "--json"))["populations"] == []


def test_a_shared_run_is_said_to_be_shared(dsd):
    assert "No database" in dsd.fails("pause", code=1)
    assert not (dsd.folder / "dsd.db").exists()
    (dsd.folder / "spaces").mkdir()
    (dsd.folder / "spaces" / "twin.toml").write_text('extends = "anynetx_a"')
    dsd("sample", "anynetx_a", "--n", "2")
    dsd("sample", "twin", "--n", "1")
    said = dsd("cancel", "1")
    assert "every population sees it: 1 in anynetx_a@imagenet_400mf#0, 1 in twin@" in said


@pytest.mark.slow
def test_a_worker_leaves_what_is_paused(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "1")
    tiny("sample", "anynetx_d", "--n", "1")
    assert "anynetx_a@fashion#0" in tiny("pause", "anynetx_a")
    said = tiny("worker", "--cpu", "--exit-when-empty")
    assert "wait in paused populations: 1 (`dsd resume`)" in said
    assert tiny.states() == {"anynetx_a": {"queued": 1}, "anynetx_d": {"done": 1}}
    shown = tiny("runs", "2")
    assert "test error by epoch" in shown
    assert "from torch" in shown
    tiny("resume")
    tiny("worker", "--cpu", "--exit-when-empty")
    assert tiny.states()["anynetx_a"] == {"done": 1}
