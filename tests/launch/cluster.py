"""A real Slurm on one machine: its own munge, slurmctld, two virtual nodes with two GPUs each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "munged")
CONF = """\
ClusterName=dsd{port}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
KillWait=30
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 Gres=gpu:2
PartitionName=gpu Nodes=n1,n2 Default=YES MaxTime=60 PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n1,n2 MaxTime=60 PriorityTier=9
"""
GRES = """\
NodeName=n1 Name=gpu File={folder}/nvidia[0-1]
NodeName=n2 Name=gpu File={folder}/nvidia[2-3]
"""


class NoSlurm(Exception):
    """Why no Slurm can be started here."""


def check() -> None:
    """Raises NoSlurm."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NoSlurm(f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        raise NoSlurm("slurmd needs root")


@dataclass
class Cluster:
    """The daemons, and the environment in which Slurm's commands reach them."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start everything and wait until both nodes are idle. Raises NoSlurm."""
        conf = self.folder / "slurm.conf"
        host = socket.gethostname().partition(".")[0]
        port, first, second = free_ports(3)
        given = {"folder": self.folder, "host": host, "port": port}
        conf.write_text(CONF.format(first=first, second=second, **given))
        (self.folder / "gres.conf").write_text(GRES.format(**given))
        for number in range(4):
            _device(self.folder / f"nvidia{number}", number)
        self.environment = {**os.environ, "SLURM_CONF": str(conf)}
        self._munge()
        self._daemon("slurmctld", "-D", "-c", "-f", str(conf))
        for node in ("n1", "n2"):
            self._daemon("slurmd", "-D", "-c", "-N", node, "-f", str(conf))
        self._wait()

    def run(self, *command: str) -> str:
        """A command of Slurm's; what it prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End all daemons; munge, which the others need, last."""
        self.run("scancel", "--signal=KILL", "--full", "--user", "root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {"key-file": key, "socket": self.folder / "munge.socket",
                 "pid-file": self.folder / "munge.pid", "log-file": self.folder / "munge.log",
                 "seed-file": self.folder / "munge.seed"}  # fmt: skip
        flags = [f"--{name}={path}" for name, path in files.items()]
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", *flags)

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            self.daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=out, stderr=out,
                                 start_new_session=True)
            )  # fmt: skip

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while self.run("sinfo", "-h", "-p", "gpu", "-t", "idle", "-o", "%D").strip() != "2":
            dead = [str(d.args[0]) for d in self.daemons if d.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "".join(p.read_text()[-800:] for p in self.folder.glob("*.log"))
                raise NoSlurm(f"it does not start ({', '.join(dead) or 'no idle nodes'}): {logs}")
            time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _device(path: Path, number: int) -> None:
    """A device node under a GPU's name, or a file where none may be made."""
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(195, number))
    except OSError:
        path.touch()


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster for a while. Raises NoSlurm."""
    check()
    with tempfile.TemporaryDirectory(prefix="dsd-slurm-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        cluster = Cluster(Path(name))
        for part in ("state", "spool-n1", "spool-n2"):
            (cluster.folder / part).mkdir()
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
