"""`dsd launch ray`: what it refuses; and real Ray clusters whose parts are killed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dsd as package
from dsd.launch.keeper import Keeper
from dsd.launch.ray import ON_LOOPBACK, Need
from tests.store.server import NoServer, Server, running_server

ON_CPU = ("--gpus-per-worker", "0")
PASSWORD = "opensesame"
TOKEN = secrets.token_hex(16)  # one for all clusters here: Ray reads it once a process


def test_what_it_is_given_is_checked_first(tiny: Any) -> None:
    tiny.environment["DSD_REGIME"] = "fashion"
    launch = ("launch", "ray", "--workers", "2")
    assert "No database" in tiny.fails(*launch, code=1)
    tiny("sample", "anynetx_a", "--n", "1")
    assert "--workers" in tiny.fails("launch", "ray", code=2)
    assert "0<=x<=1" in tiny.fails(*launch, "--gpus-per-worker", "2", code=2)
    assert "host:port" in tiny.fails(*launch, "--address", "nonsense", code=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    assert f"No Ray at {closed}" in tiny.fails(*launch, "--address", closed, code=1)
    said = tiny.fails(*launch, "--address", "ray://head:10001", code=1)
    assert "SQLite" in said
    assert f"db merge {tiny.folder / 'dsd.db'}`" in said
    missing = tiny.folder / "ray.py"
    missing.write_text("raise ModuleNotFoundError('No module named ray')")
    assert "pip install 'dsd[ray]'" in tiny.fails(*launch, code=1)
    tiny("cancel", "anynetx_a", "--yes")
    assert "Nothing is queued" in tiny(*launch)


def test_a_keeper_says_how_its_worker_ended(tmp_path: Path) -> None:
    own = f"dsd, version {package.__version__}"
    told = {"DSD_DB": str(tmp_path / "none.db")}
    here, code, said = Keeper(own, ["--cpu"], told).run()
    assert (here, code) == (socket.gethostname(), 1)
    assert "No database" in said
    other = Keeper("dsd, version 9.9", ["--cpu"], told)
    assert other.run() == (here, None, f"has {own}, this is dsd, version 9.9")
    assert other.process is None, "nothing was started, so nothing was claimed"
    stopped = Keeper(own, ["--cpu"], told)
    stopped.stop()
    assert stopped.run() == (here, 0, "")


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers"), [(1, 0, 16), (4, 0, 4), (1, 1, 2), (1, 0.25, 8), (4, 0.25, 4),
                                  (1, 0.6, 2), (1, 0.1, 16)]
)  # fmt: skip
def test_workers_fit_on_a_node_as_ray_places_them(cpus: int, gpus: float, workers: int) -> None:
    assert Need(cpus, gpus).fit({"CPU": 16.0, "GPU": 2.0, "memory": 1e9}) == workers
    assert Need(cpus, gpus).fit({"memory": 1e9}) == 0


@pytest.mark.slow
def test_a_laptops_ray_finds_the_same_errors_as_one_worker(tiny: Any) -> None:
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "12")
    shutil.copy(tiny.folder / "dsd.db", tiny.folder / "other.db")
    tiny("--db", "other.db", "worker", "--cpu", "--exit-when-empty")
    launched = tiny.popen("launch", "ray", "--workers", "2", *ON_CPU)
    until(lambda: at_work(tiny, 2), launched)
    open_to = listening(psutil.Process(launched.pid))
    assert open_to
    assert all(address.rpartition(":")[2] == "127.0.0.1" for address in open_to), open_to
    out, err = launched.communicate(timeout=200)
    assert launched.returncode == 0, (out, err)
    errors = [
        sqlite3.connect(tiny.folder / name)
        .execute("SELECT network, error_last, error_lowest FROM runs ORDER BY id")
        .fetchall()
        for name in ("dsd.db", "other.db")
    ]
    assert len(errors[0]) == 12
    assert errors[0] == errors[1], "to the bit"


class TwoNodes:
    """A Ray cluster of two nodes with a core each, on the loopback, behind a token."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args=self.node())
        self.second = self.cluster.add_node(**self.node())
        self.address = self.cluster.address

    @staticmethod
    def node(**more: Any) -> dict[str, Any]:
        return {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, **more}


@pytest.fixture
def two_nodes(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    for key, value in {**ON_LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}.items():
        monkeypatch.setenv(key, value)
        tiny.environment[key] = value
    monkeypatch.chdir(tiny.folder)  # where the nodes start: not in a checkout
    nodes = TwoNodes()
    yield nodes
    nodes.cluster.shutdown()


@pytest.fixture
def server(tiny: Any) -> Iterator[Server]:
    """A PostgreSQL server; its database `lab` is the shell's."""
    with tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp") as folder:
        try:
            with running_server(folder, options="") as server:
                server.command("CREATE DATABASE lab")
                url = server.url("lab").replace("dsd@", f"dsd:{PASSWORD}@")
                tiny.environment |= {"DSD_DB": url, "DSD_REGIME": "fashion"}
                yield server
        except NoServer as error:
            pytest.skip(str(error))


def until(condition: Callable[[], bool], launched: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert launched.poll() is None, launched.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def workers(tiny: Any) -> list[psutil.Process]:
    """The `dsd worker` processes that keepers run for this folder, and no others."""
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        line = process.info["cmdline"] or []
        if "--parent" in line and str(tiny.folder / "checkpoints") in line:
            found.append(process)
    return found


def listening(process: psutil.Process) -> set[str]:
    """The addresses on which a process and its children wait for connections."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            sockets = one.net_connections("tcp")
            found |= {socket.laddr.ip for socket in sockets if socket.status == "LISTEN"}
    return found


def grow(tiny: Any, runs: int) -> int:
    tiny("sample", "anynetx_a", "--n", str(runs))
    return runs


def at_work(tiny: Any, count: int) -> bool:
    return tiny.states()["anynetx_a"].get("running", 0) == count


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_all_is_trained_once_whatever_is_killed(
    tiny: Any, two_nodes: TwoNodes, server: Server
) -> None:
    runs = grow(tiny, 24)
    launched = tiny.popen(
        "launch", "ray", "--address", two_nodes.address, "--workers", "2", *ON_CPU
    )

    def wait(condition: Callable[[], bool]) -> None:
        """Until it holds, with work left: Ray takes its time to notice that a node is gone."""

        def holds_while_work_is_left() -> bool:
            nonlocal runs
            if tiny.states()["anynetx_a"].get("queued", 0) < 8:
                runs = grow(tiny, runs + 8)
            return condition()

        until(holds_while_work_is_left, launched)

    def done(count: int) -> Callable[[], bool]:
        return lambda: tiny.states()["anynetx_a"].get("done", 0) >= count

    wait(lambda: at_work(tiny, 2))
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    assert not [line for line in lines if PASSWORD in line], "the password is on a command line"
    os.kill(workers(tiny)[0].ppid(), signal.SIGKILL)  # the actor
    wait(done(5))
    wait(lambda: len(workers(tiny)) == 2)
    two_nodes.cluster.remove_node(two_nodes.second, allow_graceful=False)
    wait(done(9))
    two_nodes.cluster.add_node(**two_nodes.node())
    wait(lambda: at_work(tiny, 2))
    server.kill()
    time.sleep(3)
    server.start()
    out, err = launched.communicate(timeout=240)
    assert launched.returncode == 0, (out, err)
    assert tiny.states() == {"anynetx_a": {"done": runs}}
    rows = json.loads(tiny("runs", "--json"))
    assert all(row["attempts"] <= 4 for row in rows)
    assert "broken" not in tiny("db", "check")
    import psycopg

    with psycopg.connect(tiny.environment["DSD_DB"]) as connection:
        count = "SELECT count(*), count(DISTINCT run_id) FROM epochs e JOIN runs r ON r.id = run_id"
        last = connection.execute(f"{count} WHERE attempt = attempts").fetchone()
        late = connection.execute("SELECT count(*) FROM late_results").fetchone()
        kept = connection.execute("SELECT provenance::text FROM runs").fetchall()
    assert last == (runs, runs), "each network has one epoch of its last attempt, and so one result"
    assert late == (0,)
    assert not [row for row in kept if PASSWORD in row[0]]
    session = Path(two_nodes.cluster.head_node.get_session_dir_path())
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert len(logs) > 5
    said = [path for path in logs if PASSWORD.encode() in path.read_bytes()]
    assert not said
    assert PASSWORD not in out + err


@pytest.mark.slow
def test_interrupts_stop_the_workers_in_good_order(
    tiny: Any, two_nodes: TwoNodes, server: Server
) -> None:
    tiny("sample", "anynetx_a", "--n", "30")
    launch = ("launch", "ray", "--address", two_nodes.address, "--workers", "2", *ON_CPU)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        launched = tiny.popen(*launch)
        until(lambda: at_work(tiny, 2), launched)
        launched.send_signal(number)
        out, err = launched.communicate(timeout=60)
        assert launched.returncode == code, (out, err)
        assert "Traceback" not in err
        assert set(tiny.states()["anynetx_a"]) <= {"queued", "done"}
        assert not workers(tiny)
    rows = json.loads(tiny("runs", "--state", "queued", "--json"))
    assert len(rows) > 20


@pytest.mark.slow
def test_nodes_that_cannot_serve_are_refused(
    tiny: Any, two_nodes: TwoNodes, server: Server
) -> None:
    launch = ("launch", "ray", "--address", two_nodes.address, "--workers", "2", *ON_CPU)
    tiny("sample", "anynetx_a", "--n", "4", "--db", "dsd.db")
    said = tiny.fails(*launch, "--db", "dsd.db", code=1)
    assert "2 nodes" in said
    assert "db merge" in said
    tiny("db", "merge", "dsd.db")  # what it says works
    older = tiny.folder / "older"
    shutil.copytree(Path(package.__file__).parent, older / "dsd")
    for data in ("spaces", "regimes", "migrations"):
        shutil.copytree(Path(package.__file__).parent.parent / data, older / data)
    text = (older / "dsd" / "__init__.py").read_text()
    own = f'__version__ = "{package.__version__}"'
    assert own in text
    (older / "dsd" / "__init__.py").write_text(text.replace(own, '__version__ = "0.0.9"'))
    two_nodes.cluster.remove_node(two_nodes.second)
    two_nodes.cluster.add_node(**two_nodes.node(env_vars={"PYTHONPATH": str(older)}))
    out = tiny(*launch)
    assert f"has dsd, version 0.0.9, this is dsd, version {package.__version__}" in out
    assert tiny.states() == {"anynetx_a": {"done": 4}}
    tiny("sample", "anynetx_a", "--n", "5")
    tiny.environment["PYTHONPATH"] = str(older)  # now this side is the other one
    two_nodes.cluster.remove_node(next(iter(two_nodes.cluster.worker_nodes)))
    assert "No worker stays" in tiny.fails(*launch, code=1)
    assert tiny.states() == {"anynetx_a": {"done": 4, "queued": 1}}
    del tiny.environment["PYTHONPATH"]
    tiny.environment["RAY_AUTH_TOKEN"] = "wrong"
    assert "is its token known here" in tiny.fails(*launch, code=1)
