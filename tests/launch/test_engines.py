"""Every engine finishes the same population with the same errors, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from dsd.store import process
from tests.cli.conftest import Shell
from tests.launch.cluster import Cluster
from tests.launch.conftest import wait_for
from tests.store.server import Server

N = 40
SECRET = "s3cret-word"
Errors = dict[str, float]


def errors(shell: Shell) -> Errors:
    """Network -> error, of those that are done; each has one result and nothing is left over."""
    rows = json.loads(shell("runs", "--json"))
    assert len({row["digest"] for row in rows}) == len(rows) == N
    assert {row["state"] for row in rows} == {"done"}
    assert json.loads(shell("status", "--json"))["late_results"] == 0
    return {row["digest"]: row["error_last"] for row in rows}


def done(shell: Shell) -> int:
    return shell.states()["anynetx_a"].get("done", 0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What one worker finds, without any engine."""
    from tests.cli.conftest import tiny

    shell = tiny.__wrapped__(Shell(tmp_path_factory.mktemp("plain")))
    shell.environment["DSD_REGIME"] = "fashion"
    shell("sample", "anynetx_a", "--n", str(N))
    shell("worker", "--cpu", "--slots", "1", "--exit-when-empty")
    return errors(shell)


def launched_local(shell: Shell, request: pytest.FixtureRequest) -> None:
    """Two workers; one of them and the database's server are killed on the way."""
    server: Server = request.getfixturevalue("server")
    launcher = shell.popen("launch", "local", "--cpu", "--slots", "2")
    wait_for(lambda: done(shell) >= 3)
    psutil.Process(launcher.pid).children()[0].kill()
    wait_for(lambda: done(shell) >= 8)
    restart(server)
    out, err = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, (out, err)
    assert "its worker died (signal 9" in err


def launched_slurm(shell: Shell, request: pytest.FixtureRequest) -> None:
    """Four tasks on two nodes: one cancelled, one at its time limit, one killed and started again;
    of the fourth a worker is killed, and then its batch shell, which Slurm does not requeue."""
    cluster: Cluster = request.getfixturevalue("cluster")
    server: Server = request.getfixturevalue("server")
    shell.environment["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
    # The server asks for none; that it reaches the jobs only by their environment is the point.
    shell.environment["DSD_DB"] = shell.environment["DSD_DB"].replace("dsd@", f"dsd:{SECRET}@")
    out = shell("launch", "slurm", "--partition", "gpu", "--workers", "4", "--gpus-per-worker", "1",
                "--cpus-per-worker", "1", "--cpu", "--time", "20", "--linger", "30")  # fmt: skip
    job = re.search(r"Job (\d+)", out)[1]  # type: ignore[index]
    logs = shell.folder / "slurm-logs"
    wait_for(lambda: said(logs, job, "CUDA_VISIBLE_DEVICES=") == 4)
    devices = re.findall(r"CUDA_VISIBLE_DEVICES=(\d)", "".join(texts(logs, job)))
    assert sorted(devices) == ["0", "0", "1", "1"], "two devices on each of two nodes"
    wait_for(lambda: done(shell) >= 3)
    cluster.run("scancel", f"{job}_0")
    time_limit(cluster, f"{job}_1", logs / f"{job}_1_0_log.out")
    os.kill(task_of(f"{job}_2"), signal.SIGKILL)
    psutil.Process(task_of(f"{job}_3")).children()[0].kill()
    wait_for(lambda: done(shell) >= 10)
    restart(server)
    os.kill(task_of(f"{job}_3", "slurm_script"), signal.SIGKILL)
    wait_for(lambda: done(shell) == N, 240)
    wait_for(lambda: not cluster.run("squeue", "-h").strip(), 90)
    told = [(logs / f"{job}_{task}_0_log.out").read_text() for task in range(4)]
    assert "every network was given back" in told[0]
    assert "DUE TO JOB REQUEUE" in told[1]
    assert told[1].count("nothing is left to do") == 1, "it came back"
    assert told[2].count("CUDA_VISIBLE_DEVICES=") == 2, "a killed task starts again"
    assert "its worker died (signal 9" in told[3]
    assert not [path for path in logs.iterdir() if SECRET.encode() in path.read_bytes()]


def time_limit(cluster: Cluster, job: str, log: Path) -> None:
    """What Slurm does before a job's end; a controller too busy to answer is asked again."""

    def heard() -> bool:
        cluster.run("scancel", "--signal=USR2", job)
        time.sleep(3)
        return "Caught signal SIGUSR2" in log.read_text()

    wait_for(heard)


def restart(server: Server) -> None:
    server.kill()
    time.sleep(2)
    server.start()


def texts(logs: Path, job: str) -> list[str]:
    return [path.read_text() for path in logs.glob(f"{job}_*_log.out")]


def said(logs: Path, job: str, what: str) -> int:
    return sum(text.count(what) for text in texts(logs, job))


def task_of(job: str, called: str = "submitit.core._submit") -> int:
    """The process that runs a task, which is not its workers' nor srun's; or its batch shell."""
    number, task = job.split("_")
    for one in psutil.process_iter(["cmdline"]):
        command = one.info["cmdline"] or [""]
        if command[0] != "srun" and any(called in part for part in command[:5]):
            try:
                known = one.environ()
            except psutil.Error:
                continue
            if known["SLURM_ARRAY_JOB_ID"] == number and known["SLURM_ARRAY_TASK_ID"] == task:
                return one.pid
    raise AssertionError(f"no process of task {job}")


def launched_ray(shell: Shell, request: pytest.FixtureRequest) -> None:
    """Two workers of this machine's own Ray, stopped through the database and launched again; then
    the server is restarted."""
    pytest.importorskip("ray", reason="Ray is not installed")
    server: Server = request.getfixturevalue("server")
    launch = ("launch", "ray", "--workers", "2", "--gpus-per-worker", "0")
    launcher = shell.popen(*launch)
    wait_for(lambda: done(shell) >= 3)
    shown = json.loads(shell("launch", "status", "ray", "--json"))["workers"]
    here = f"ray {launcher.pid}@{process.host()}"
    assert {one["launched"] for one in shown} == {f"{here}.0", f"{here}.1"}
    assert "ray: 1 launchers stopped" in shell("launch", "stop", "ray")
    launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert set(shell.states()["anynetx_a"]) == {"done", "queued"}
    launcher = shell.popen(*launch)
    wait_for(lambda: done(shell) >= 12)
    restart(server)
    out, err = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, (out, err)


ENGINES = {"local": launched_local, "slurm": launched_slurm, "ray": launched_ray}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_the_same_errors_whatever_happens(
    engine: str, lab: Shell, expected: Errors, request: pytest.FixtureRequest
) -> None:
    lab("sample", "anynetx_a", "--n", str(N))
    ENGINES[engine](lab, request)
    assert errors(lab) == expected
    assert "broken" not in lab("db", "check")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_preempted_task_gives_its_network_back_and_returns(lab: Shell, cluster: Cluster) -> None:
    """Slurm announces it by SIGTERM, as it does a cancellation, after which nobody returns."""
    lab.environment["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
    lab("sample", "anynetx_a", "--n", "6")
    lab("launch", "slurm", "--partition", "gpu", "--workers", "1", "--cpu", "--linger", "1",
        "--cpus-per-worker", "2", "--time", "20")  # fmt: skip
    (job,) = cluster.run("squeue", "-h", "-o", "%A").split()
    log = lab.folder / "slurm-logs" / f"{job}_0_log.out"
    wait_for(lambda: done(lab) >= 1)
    urgent = ["sbatch", "-p", "urgent", "-N", "2", "--exclusive", "--wrap", "sleep 3"]
    cluster.run(*urgent, "--output", "/dev/null")
    wait_for(lambda: done(lab) == 6)
    wait_for(lambda: not cluster.run("squeue", "-h").strip(), 90)
    said = log.read_text()
    assert said.count("SIGTERM: every network was given back") == 1
    assert said.count("Requeued job") == 1
    assert said.count("nothing is left to do") == 1
    rows = json.loads(lab("runs", "--json"))
    assert [row["state"] for row in rows] == ["done"] * 6
