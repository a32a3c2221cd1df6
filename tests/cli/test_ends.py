"""Every way a training can end has a defined end: real workers, real files, real signals.

Here, or where it says:

| what happens | what becomes of it |
|---|---|
| the loss is not finite | diverged, at chance level; the worker goes on |
| too little memory | out-of-memory, with its trace; the worker goes on |
| a network that cannot be built | failed, with its trace; the worker goes on |
| a network that kills its process | taken up as often as allowed, then failed |
| a corrupt checkpoint | said; the network starts anew |
| no room for checkpoints and weights | said; the result counts |
| no room for the database | waited for (tests/store/test_chaos.py) |
| an unreadable image | failed, with the file's name (tests/train/test_unreadable.py) |
| Ctrl-C once | the epoch ends, then the network is given back |
| Ctrl-C twice | the network is given back at once |
| SIGTERM and warnings of the end | given back at once (tests/train/test_worker.py) |
| SIGKILL | the next worker goes on from its checkpoint (tests/train/test_checkpoint.py) |
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsd.net.arch import Arch, Stage, Stem
from dsd.store.engine import Store, open_store
from dsd.store.results import frame
from dsd.store.runs import one_run
from dsd.train.seeds import run_seed
from tests.cli.conftest import Shell
from tests.store.chaos import small_disk
from tests.train.conftest import fill, make_regime, small_arch

BRIEF = {"epochs": 2, "batch": 500}
ONCE = ("worker", "--cpu", "--slots", "1", "--exit-when-empty")
HUGE = 1 << 21  # channels: 3x3 weights of 2^47 bytes, more than a process can address
CRASHING = """
import os, signal
wanted = os.environ.get("CRASHING_NETWORK")
if wanted:
    import dsd.net.build as module
    plain = module.build

    def build(arch):
        model = plain(arch)
        if arch.digest == wanted:
            model.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
        return model

    module.build = build
"""


@pytest.fixture
def store(dsd: Shell) -> Iterator[Store]:
    opened = open_store(str(dsd.folder / "dsd.db"))
    yield opened
    opened.close()


def runs(store: Store) -> dict[str, dict[str, Any]]:
    """Space -> its run; each space here has one network."""
    table = frame(store)
    return {row.space: one_run(store, row.run) for row in table.itertuples()}


def wait_for(condition: Callable[[], Any], worker: subprocess.Popen[str]) -> Any:
    end = time.monotonic() + 60
    while not (found := condition()):
        assert worker.poll() is None, worker.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_worker_outlives_the_networks_that_end_badly(dsd: Shell, store: Store) -> None:
    brief = make_regime("brief", train=BRIEF)
    huge = Arch(Stem(1, 8), (Stage(1, HUGE, 1, HUGE),), classes=10)
    fill(store, [small_arch()], make_regime("steep", train={**BRIEF, "lr": 1e30}), "nan")
    fill(store, [huge], brief, "huge")
    fill(store, [small_arch(block="Q")], brief, "unknown")
    fill(store, [small_arch(16)], brief, "sound")
    (dsd.folder / "checkpoints").mkdir()
    seed = run_seed(0, small_arch(16).digest, brief.digest)
    checkpoint = dsd.folder / "checkpoints" / f"{small_arch(16).digest}-{brief.digest}-{seed:x}.pt"
    checkpoint.write_bytes(b"PK\\x03\\x04 half a file")
    said = dsd(*ONCE)
    ended = runs(store)
    states = {space: run["state"] for space, run in ended.items()}
    assert states == {
        "nan": "diverged", "huge": "out-of-memory", "unknown": "failed", "sound": "done",
    }  # fmt: skip
    assert ended["nan"]["error_last"] == 90.0
    assert "can't allocate memory" in ended["huge"]["message"]
    assert "Traceback" in ended["unknown"]["trace"]
    assert f"{checkpoint.relative_to(dsd.folder)} is of no use" in said
    assert ended["sound"]["attempts"] == 1
    assert not list((dsd.folder / "checkpoints").iterdir())
    assert "2 networks trained" in said


@pytest.mark.slow
def test_a_network_that_kills_its_process_is_given_up_and_holds_up_no_other(
    dsd: Shell, store: Store
) -> None:
    brief = make_regime("brief", train=BRIEF)
    fill(store, [small_arch(8)], brief, "crashing")
    fill(store, [small_arch(16)], brief, "sound")
    (dsd.folder / "site").mkdir()
    (dsd.folder / "site" / "sitecustomize.py").write_text(CRASHING)
    dsd.environment |= {
        "PYTHONPATH": str(dsd.folder / "site"), "CRASHING_NETWORK": small_arch(8).digest,
    }  # fmt: skip
    for _ in range(2):
        dsd(*ONCE, "--max-attempts", "2", code=-signal.SIGSEGV)
    assert "1 network trained" in dsd(*ONCE, "--max-attempts", "2")
    ended = runs(store)
    assert {space: run["state"] for space, run in ended.items()} == {
        "crashing": "failed", "sound": "done",
    }  # fmt: skip
    assert ended["crashing"]["attempts"] == 2
    assert "its worker vanished without a report" in ended["crashing"]["message"]


@pytest.mark.slow
def test_a_full_disk_costs_checkpoint_and_weights_only(dsd: Shell, store: Store) -> None:
    fill(store, [small_arch(32)], make_regime("brief", train=BRIEF), "sound")
    try:
        with small_disk() as full:
            _fill_up(full / "ballast")
            said = dsd(*ONCE, "--checkpoints", str(full / "checkpoints"),
                       "--keep-weights", str(full / "kept"))  # fmt: skip
            left = [path.name for path in full.rglob("*") if path.is_file()]
    except PermissionError as error:
        pytest.skip(str(error))
    assert "No weights written to" in said
    assert left == ["ballast"], "nothing is left in halves"
    (run,) = runs(store).values()
    assert run["state"] == "done"
    assert "weights" not in run["provenance"]


def _fill_up(file: Path) -> None:
    with file.open("ab", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return


@pytest.mark.slow
def test_one_interrupt_ends_the_epoch_and_two_leave_now(dsd: Shell, store: Store) -> None:
    long = make_regime("long", resolution=28, train={"epochs": 9, "batch": 32})
    fill(store, [small_arch(32, depth=2)], long, "long")

    def epochs(attempt: int) -> list[int]:
        (run,) = runs(store).values()
        return [row["epoch"] for row in run["epochs"] if row["attempt"] == attempt]

    worker = dsd.popen(*ONCE)
    wait_for(lambda: epochs(1), worker)
    begun = len(epochs(1)) + 1
    time.sleep(0.3)  # an epoch takes seconds
    worker.send_signal(signal.SIGINT)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 130
    assert "Ctrl-C again leaves now" in err
    assert "given back" in out
    assert epochs(1)[-1] == begun, "the epoch under way was ended"
    assert len(list((dsd.folder / "checkpoints").glob("*.pt"))) == 1

    worker = dsd.popen(*ONCE)
    wait_for(lambda: epochs(2) == epochs(1), worker)  # those behind it, from the checkpoint
    time.sleep(0.3)
    worker.send_signal(signal.SIGINT)
    time.sleep(0.2)
    worker.send_signal(signal.SIGINT)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 130
    assert epochs(2) == epochs(1), "the epoch under way was left"
    (run,) = runs(store).values()
    assert (run["state"], run["owner"], run["attempts"] - run["forgiven"]) == ("queued", None, 0)
    assert "Traceback" not in err
