"""After every accident: one accepted result a run, none lost, the database whole."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from tests.store import chaos
from tests.store.server import NoServer

FINE = {"lost": 0, "twice": 0, "whole": True}
QUICK = ("killed", "stopped")
REPEATS = 3  # benchmarks/queue_chaos.py does it twenty times


def run(case: chaos.Callable, url: str, seed: int = 0) -> chaos.Counts:
    try:
        found = case(url, random.Random(seed))
    except (PermissionError, FileNotFoundError, NoServer) as error:
        pytest.skip(str(error))
    assert chaos.accounted(found) == FINE, found
    assert found.finished == found.runs > 0
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", QUICK)
def test_accidents(url: str, name: str) -> None:
    run(chaos.CASES[name], url)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["disk full", "locked"])
def test_accidents_of_a_file(sqlite_url: str, name: str) -> None:
    run(chaos.SQLITE_ONLY[name], sqlite_url)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_workers_outlive_a_crash_of_the_server() -> None:
    run(chaos.server_crash, "")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_many_start_at_once(tmp_path: Path) -> None:
    run(chaos.start_at_once, str(tmp_path / "new.db"))


@pytest.mark.timeout(180)
def test_a_wrong_clock_takes_no_run_from_others(postgresql_url: str) -> None:
    found = run(chaos.clocks, postgresql_url)
    assert found.handed_out == found.runs, "leases go by the server's clock"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*chaos.CASES, *chaos.SQLITE_ONLY, *chaos.SERVER_ONLY])
def test_accidents_again_and_again(name: str) -> None:
    case = {**chaos.CASES, **chaos.SQLITE_ONLY, **chaos.SERVER_ONLY}[name]
    for seed in range(REPEATS if name != "locked for a minute" else 1):
        with tempfile.TemporaryDirectory() as folder:
            run(case, f"{folder}/dsd.db", seed)
