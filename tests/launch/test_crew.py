"""A crew on one machine: rests that grow, devices that are left alone, and its end on request."""

from __future__ import annotations

import json
import time

import pytest

from dsd.launch.crew import LONGEST_REST_S, MOST_DEATHS, Slot
from tests.cli.conftest import Shell


def test_rests_grow_until_a_network_is_ended():
    slot = Slot(["--cpu"], "local 1.0")
    assert [slot.rest(0, died=True) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, LONGEST_REST_S]
    assert slot.deaths == 8 > MOST_DEATHS
    assert slot.rest(1, died=True) == 1
    assert slot.deaths == 1
    assert slot.rest(1, died=False) == 2, "one that found nothing to do is no death"
    assert slot.deaths == 1
    assert slot.rests_until > time.monotonic()


@pytest.mark.slow
def test_a_machine_without_the_images_ends_at_once_and_claims_nothing(dsd: Shell):
    dsd("sample", "anynetx_d", "--n", "2", "--regime", "cifar10")
    said = dsd.fails("launch", "local", "--cpu", "--slots", "1", code=1)
    assert "Dataset 'cifar10' of regime 'cifar10' not found" in said
    assert dsd.states() == {"anynetx_d": {"queued": 2}}
    assert "No worker is at work" in dsd("launch", "status", "local")


@pytest.mark.slow
def test_a_launcher_is_found_through_the_database_and_stopped(tiny: Shell):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "200")
    launcher = tiny.popen("launch", "local", "--cpu", "--slots", "1")
    while not (shown := told(tiny)) or not shown[0]["ended"]:
        assert launcher.poll() is None
    (one,) = shown
    assert (one["launched"], one["state"]) == (f"local {launcher.pid}.0", "alive")
    assert "1 launchers stopped" in tiny("launch", "stop", "local")
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, (out, err)
    (one,) = told(tiny)
    assert (one["state"], one["network"]) == ("stopped", "")
    assert set(tiny.states()["anynetx_a"]) == {"done", "queued"}
    assert "local: none runs here" in tiny("launch", "stop", "local")


def told(shell: Shell) -> list[dict[str, object]]:
    workers: list[dict[str, object]] = json.loads(shell("launch", "status", "local", "--json"))[
        "workers"
    ]
    return workers
