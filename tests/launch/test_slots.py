"""Several workers on one device behind one command: real processes and signals, real networks."""

from __future__ import annotations

import json
import signal
import sqlite3
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Shell
from tests.launch.conftest import wait_for

pytestmark = pytest.mark.xdist_group("training")

# What a device without memory does: a network of a crew finds none while another one has some.
# It stands in for the device, not for the code that has to live with it.
SHORT = """
    import fcntl, importlib.abc, importlib.util, os, sys

    class Hook(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "dsd.net.build":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), limit(module))
            return spec

    def limit(module):
        import torch
        build, held = module.build, []

        def short(arch):
            held.clear()
            held.append(open(os.environ["SHORT_OF_MEMORY"], "w"))
            try:
                fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.") from None
            model = build(arch)
            if sum(p.numel() for p in model.parameters()) == int(os.environ.get("GREEDY", "0")):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return model

        module.build = short

    if "--crew" in sys.argv:
        sys.meta_path.insert(0, Hook())
"""


@pytest.fixture
def lab(tiny: Shell) -> Shell:
    tiny.environment["DSD_REGIME"] = "fashion"
    return tiny


@pytest.fixture
def short(lab: Shell) -> Shell:
    """A device on which one network at a time has memory."""
    place = lab.folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(textwrap.dedent(SHORT))
    lab.environment |= {"PYTHONPATH": str(place), "SHORT_OF_MEMORY": str(place / "memory")}
    return lab


def runs(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shell("runs", "--json"))
    return found


def attempts(shell: Shell) -> list[tuple[int, int]]:
    """Of each run: the attempts that count against a limit, and those that do not."""
    with sqlite3.connect(shell.folder / "dsd.db") as database:
        return database.execute("SELECT attempts - forgiven, forgiven FROM runs").fetchall()


def running(shell: Shell) -> int:
    with sqlite3.connect(shell.folder / "dsd.db") as database:
        (found,) = database.execute("SELECT count(*) FROM runs WHERE state = 'running'").fetchone()
    return int(found)


@pytest.mark.slow
def test_two_slots_train_side_by_side_and_speak_as_one(lab: Shell) -> None:
    lab("sample", "anynetx_a", "--n", "6")
    out = lab("worker", "--cpu", "--slots", "2", "--max-runs", "6")
    assert "2 slots" in out
    assert "6 networks trained" in out
    assert out.count("Training on CPU") == 1, "what both say is said once"
    assert sum("error" in line for line in out.splitlines()) == 6
    assert "from slots: 2" in lab("runs", "6"), "the first may have ended before the other came"


@pytest.mark.slow
def test_errors_do_not_depend_on_the_slots(lab: Shell) -> None:
    """To the bit: a population trained two at a time, and one after the other."""
    found = []
    for slots in ("2", "1"):
        lab.environment["DSD_DB"] = f"slots-{slots}.db"
        lab("sample", "anynetx_a", "--n", "8")
        assert "8 networks trained" in lab("worker", "--cpu", "--slots", slots, "--exit-when-empty")
        assert f"from slots: {slots}" in lab("runs", "8")
        found.append({row["digest"]: row["error_last"] for row in runs(lab)})
    assert found[0] == found[1]
    assert "No worker is at work" in lab("launch", "status")


@pytest.mark.slow
def test_max_runs_counts_the_networks_of_all_slots(lab: Shell) -> None:
    lab("sample", "anynetx_a", "--n", "6")
    assert "3 networks trained" in lab("worker", "--cpu", "--slots", "2", "--max-runs", "3")
    assert lab.states() == {"anynetx_a": {"done": 3, "queued": 3}}


def test_what_is_no_number_of_slots_is_refused(lab: Shell) -> None:
    for wrong in ("0", "many", "1.5"):
        assert "neither a number from 1 nor auto" in lab.fails("worker", "--slots", wrong, code=2)


def test_a_machine_without_the_images_says_so_once(dsd: Shell) -> None:
    dsd("sample", "anynetx_d", "--n", "4", "--regime", "cifar10")
    said = dsd.fails("worker", "--cpu", "--slots", "2", code=3)
    assert said.startswith("Error: Dataset 'cifar10' of regime 'cifar10' not found")
    assert len(dsd.stderr.strip().splitlines()) == 1
    assert dsd.states() == {"anynetx_d": {"queued": 4}}


@pytest.mark.slow
def test_what_lacks_its_images_is_left_to_others(lab: Shell) -> None:
    lab("sample", "anynetx_a", "--n", "2")
    lab("sample", "anynetx_d", "--n", "2", "--regime", "cifar10")
    out = lab("worker", "--cpu", "--slots", "2", "--exit-when-empty")
    assert out.count("Left out: Dataset 'cifar10'") == 1
    assert "2 networks trained" in out
    assert lab.states() == {"anynetx_a": {"done": 2}, "anynetx_d": {"queued": 2}}


@pytest.mark.slow
def test_it_waits_for_work_and_ctrl_c_ends_it_after_the_epoch(lab: Shell) -> None:
    """Nothing idles meanwhile: a worker's process is there when there is a network for it."""
    lab("sample", "anynetx_a", "--n", "2")
    worker = lab.popen("worker", "--cpu", "--slots", "2")
    wait_for(lambda: lab.states()["anynetx_a"] == {"done": 2})
    watched = psutil.Process(worker.pid)
    wait_for(lambda: not watched.children())
    lab("sample", "anynetx_a", "--n", "60")
    wait_for(lambda: lab.states()["anynetx_a"].get("done", 0) > 4)
    assert len(watched.children()) == 2
    assert "libtorch" not in Path(f"/proc/{worker.pid}/maps").read_text(), "it only watches"
    worker.send_signal(signal.SIGINT)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 130, err
    assert out.count("Nothing to train: waiting for more") == 1
    assert (out + err).count("Leaving at the end of the epoch") == 1
    states = lab.states()["anynetx_a"]
    assert set(states) == {"done", "queued"}
    assert "died" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_takes_its_workers_along(lab: Shell, number: signal.Signals) -> None:
    lab("sample", "anynetx_a", "--n", "60")
    worker = lab.popen("worker", "--cpu", "--slots", "2", "--checkpoints", "")
    wait_for(lambda: running(lab) == 2)
    children = psutil.Process(worker.pid).children()
    worker.send_signal(number)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == (0 if number == signal.SIGTERM else -number), err
    _, left = psutil.wait_procs(children, timeout=30)
    assert not left
    assert "running" not in lab.states()["anynetx_a"], "all was given back"
    assert all(counted <= 1 for counted, _ in attempts(lab))


@pytest.mark.slow
def test_a_slot_whose_worker_is_killed_gets_another(lab: Shell) -> None:
    lab("sample", "anynetx_a", "--n", "5")
    worker = lab.popen("worker", "--cpu", "--slots", "2", "--exit-when-empty")
    wait_for(lambda: running(lab) == 2)
    psutil.Process(worker.pid).children()[0].kill()
    _, err = worker.communicate(timeout=100)
    assert worker.returncode == 0
    assert "its worker died (signal 9" in err
    assert lab.states() == {"anynetx_a": {"done": 5}}


@pytest.mark.slow
def test_memory_for_one_network_at_a_time_fails_none(short: Shell) -> None:
    short("sample", "anynetx_a", "--n", "4")
    short("worker", "--cpu", "--slots", "3", "--exit-when-empty")
    assert "at a time for now: anynetx_a, network " in short.stderr
    assert short.states() == {"anynetx_a": {"done": 4}}
    assert {counted for counted, _ in attempts(short)} == {1}
    assert sum(forgiven for _, forgiven in attempts(short)) >= 1


@pytest.mark.slow
def test_a_network_that_never_fits_ends_as_out_of_memory(short: Shell) -> None:
    short("sample", "anynetx_a", "--n", "4")
    greedy = next(row for row in runs(short) if row["ordinal"] == 1)
    short.environment["GREEDY"] = str(greedy["params"])
    short("worker", "--cpu", "--slots", "3", "--exit-when-empty")
    assert short.states() == {"anynetx_a": {"done": 3, "out-of-memory": 1}}
    (failed,) = [row for row in runs(short) if row["state"] == "out-of-memory"]
    assert failed["params"] == greedy["params"]


@pytest.mark.slow
def test_auto_adds_a_slot_by_the_epochs_that_were_recorded(lab: Shell) -> None:
    """The controller at work on real processes; here it may find that one is best, or two."""
    from dsd.launch.climb import Climb
    from dsd.launch.crew import Crew
    from dsd.launch.local import Watch
    from dsd.launch.slots import Tuner, keep_at_work
    from dsd.store.engine import open_store
    from dsd.train.stop import Stop

    lab("sample", "anynetx_a", "--n", "40")
    store = open_store(str(lab.folder / "dsd.db"))
    lines: list[str] = []
    told = {"DSD_DB": str(lab.folder / "dsd.db"), "DSD_REGIME": "fashion"}
    arguments = ["--exit-when-empty", "--checkpoints", "", "--data", str(lab.folder)]
    arguments += ["--regime", str(lab.folder / "regimes" / "fashion.toml")]
    crew = Crew(arguments, [["--cpu"]] * 2, lab.folder / "log", environment=told, wanted=1)
    tuner = Tuner(Climb(1, 2), lambda: float("inf"), lines.append)
    keep_at_work(Watch(store, None, crew), Stop(), exit_when_empty=True, tuner=tuner)
    store.close()
    assert lab.states() == {"anynetx_a": {"done": 40}}
    assert lines[0].startswith("1 at a time: ")
    assert "networks an hour; now 2" in lines[0]
    assert not crew.working
    assert {row["attempts"] for row in runs(lab)} <= {1, 2}


@pytest.mark.slow
def test_a_crew_trains_on_images_that_are_held_for_it(lab: Shell) -> None:
    """What a GPU's slots do, on the CPU: the holder, the crew and the workers together."""
    import torch

    from dsd.launch.crew import Crew
    from dsd.launch.local import Watch
    from dsd.launch.slots import keep_at_work
    from dsd.store.engine import open_store
    from dsd.train.shared import holding
    from dsd.train.stop import Stop

    lab("sample", "anynetx_a", "--n", "3")
    store = open_store(str(lab.folder / "dsd.db"))
    arguments = ["--exit-when-empty", "--checkpoints", "", "--data", str(lab.folder)]
    arguments += ["--regime", str(lab.folder / "regimes" / "fashion.toml")]
    with holding(lab.folder, torch.device("cpu")) as held:
        told = {"DSD_DB": str(lab.folder / "dsd.db"), **held}
        crew = Crew(arguments, [["--cpu"]] * 2, lab.folder / "log", environment=told)
        keep_at_work(Watch(store, None, crew), Stop(), exit_when_empty=True)
    store.close()
    assert lab.states() == {"anynetx_a": {"done": 3}}, (lab.folder / "log").read_text()
    held_errors = {row["digest"]: row["error_last"] for row in runs(lab)}
    lab.environment["DSD_DB"] = "own.db"
    lab("sample", "anynetx_a", "--n", "3")
    lab("worker", "--cpu", "--slots", "1", "--exit-when-empty")
    assert {row["digest"]: row["error_last"] for row in runs(lab)} == held_errors
