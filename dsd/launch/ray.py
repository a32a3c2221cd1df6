"""Workers on a Ray cluster: one actor each, restarted for ever; the truth is in the database."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dsd.errors import DsdError
from dsd.launch import keeper
from dsd.launch.crew import REFUSALS
from dsd.store import process
from dsd.store.engine import DatabaseUnavailable, Store
from dsd.store.location import describe, sqlite_file
from dsd.store.queue import pending
from dsd.store.workers import rescue_dead

LOCAL = "local"
# Ray has this switch for systems whose firewalls ask; it is the only one that keeps a Ray of one
# machine from listening on the network. And a lab's Ray tells its maker nothing unless asked to.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
SOON = {"RAY_NUM_REDIS_GET_RETRIES": "3"}  # a head that does not answer, or refuses the token
LOOK_S = 1.0  # between looks at the database and at the actors
RESCUE_S = 10.0
AWAY_S = 600.0  # as long as a worker waits for a database
PATIENCE_S = 30.0  # for workers that were asked to leave
MOST_ENDS = 5  # of one keeper's workers in a row, each within
SOON_S = 60.0  # of its start


@dataclass(frozen=True)
class Need:
    """What one worker takes: CPUs, and a GPU or a part of one."""

    cpus: float
    gpus: float

    @property
    def device(self) -> list[str]:
        """The worker's argument. Ray shows an actor its own GPUs only: the first is the one."""
        return ["--gpu", "0"] if self.gpus else ["--cpu"]

    def room(self) -> int:
        """How many workers the nodes that are there could hold."""
        return sum(self.fit(node["Resources"]) for node in nodes())

    def fit(self, resources: Mapping[str, float]) -> int:
        """How many fit on a node with these; a worker's part of a GPU is never on two."""
        cores = int(resources.get("CPU", 0) / self.cpus)
        if not self.gpus:
            return cores
        return min(cores, int(resources.get("GPU", 0)) * int(1 / self.gpus + 1e-9))


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Joined to a Ray cluster, or to one of this process alone on the loopback. Raises DsdError."""
    for key, value in (ON_LOOPBACK if address == LOCAL else SOON).items():
        os.environ.setdefault(key, value)  # Ray reads them when it is imported
    ray = _imported(address)
    own = {"include_dashboard": False} if address == LOCAL else {}
    if address != LOCAL:
        _reach(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "no answer")
        raise DsdError(
            f"Ray at {address}: {said.rstrip('.')}. Does its head run Ray {ray.__version__} as "
            "here, and is its token known here (RAY_AUTH_MODE=token, ~/.ray/auth_token)?"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _imported(address: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise DsdError("Ray is not installed here: pip install 'dsd[ray]'") from None
    if address.startswith("ray://"):
        try:
            import grpc  # noqa: F401
        except ModuleNotFoundError:
            raise DsdError("ray:// needs gRPC: pip install 'ray[client]'. On a node of the "
                           "cluster, --address auto does without.") from None  # fmt: skip
    return ray


def _reach(address: str) -> None:
    """Ray itself would wait a minute, then end the process without a word."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        if address == "auto":
            return
        raise DsdError(f"--address {address}: auto, host:port and ray://host:port would work.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise DsdError(f"No Ray at {address}: {error.strerror or error}. Is the head node up, "
                       "and its port open from here?") from None  # fmt: skip


def nodes() -> list[dict[str, Any]]:
    """The nodes that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def check_shared(store: Store, address: str, nodes: int = 1) -> None:
    """Raises DsdError where workers on other machines would need an SQLite file of this one."""
    file = sqlite_file(store.url)
    if file is None or (nodes == 1 and not address.startswith("ray://")):
        return
    where = f"this Ray cluster has {nodes} nodes" if nodes > 1 else "ray:// leads to others"
    raise DsdError(
        f"{describe(store.url)} is an SQLite file, which serves one machine, and {where}. Move "
        f"the data to a server: `dsd --db postgresql://user@host/name db merge {file}`, then "
        "give that --db here, too."
    )


@dataclass
class Fleet:
    """Keepers on the cluster, one for each worker; `say` hears of workers that end."""

    need: Need
    workers: int
    arguments: Sequence[str]
    environment: dict[str, str]
    say: Callable[[str], None]
    keepers: dict[Any, Kept] = field(default_factory=dict)
    last: str = ""

    def start(self, one_node: bool) -> None:
        """Ask Ray for all of them; where there is no room yet they wait for it."""
        import ray
        from ray import cloudpickle

        from dsd import __version__

        cloudpickle.register_pickle_by_value(keeper)
        actor = ray.remote(keeper.Keeper).options(
            num_cpus=self.need.cpus, num_gpus=self.need.gpus, max_restarts=-1,
            max_task_retries=-1, max_concurrency=2, scheduling_strategy=_place(one_node),
        )  # fmt: skip
        version = f"dsd, version {__version__}"
        for slot in range(self.workers):
            named = ["--launched", f"ray {os.getpid()}@{process.host()}.{slot}"]
            kept = Kept(actor.remote(version, [*self.arguments, *named], self.environment))
            self.keepers[kept.run()] = kept

    def look(self) -> None:
        """Start again what ended. Raises DsdError when no keeper is left that could."""
        import ray

        ended, _ = ray.wait(list(self.keepers), num_returns=len(self.keepers), timeout=0)
        for task in ended:
            kept = self.keepers[task]
            if not kept.resting:
                self._ended(task, kept)
            elif time.monotonic() > kept.resting:
                self._again(task, kept)
        if not self.keepers:
            raise DsdError(f"No worker stays: {self.last}")

    def _ended(self, task: Any, kept: Kept) -> None:
        import ray

        try:
            node, code, said = ray.get(task)
        except ray.exceptions.RayError as error:
            node, code, said = "Ray", 1, str(error).strip().splitlines()[-1]
        self._tell(f"{node}: {said}" if code is None else f"a worker on {node} ended: {said}")
        if code is None or code in REFUSALS or not kept.try_again():
            del self.keepers[task]
            ray.kill(kept.actor)

    def _tell(self, line: str) -> None:
        if line != self.last:
            self.say(line)
        self.last = line

    def _again(self, task: Any, kept: Kept) -> None:
        del self.keepers[task]
        self.keepers[kept.run()] = kept

    def stop(self) -> None:
        """Ask all workers to leave, wait for them, and give their places back."""
        import ray

        if not self.keepers:
            return
        with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
            for kept in self.keepers.values():
                kept.actor.stop.remote()
            ray.wait(list(self.keepers), num_returns=len(self.keepers), timeout=PATIENCE_S)
            for kept in self.keepers.values():
                ray.kill(kept.actor)
        self.keepers.clear()


@dataclass
class Kept:
    """One keeper: since when its worker runs, how many have ended soon, until when it rests."""

    actor: Any
    begun: float = 0.0
    ends: int = 0
    resting: float = 0.0

    def run(self) -> Any:
        """Have it start a worker; the reference to how that ends."""
        self.begun, self.resting = time.monotonic(), 0.0
        return self.actor.run.remote()

    def try_again(self) -> bool:
        """Rest a while before the next worker; False where too many ended at once."""
        now = time.monotonic()
        self.ends = self.ends + 1 if now - self.begun < SOON_S else 1
        self.resting = now + 2.0**self.ends
        return self.ends < MOST_ENDS


def _place(one_node: bool) -> Any:
    if not one_node:
        return "SPREAD"
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    (node,) = nodes()
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def train_all(
    store: Store, populations: Sequence[int], fleet: Fleet, tick: Callable[[], None]
) -> None:
    """Keep the fleet at work until no run of these populations is queued or running.

    `tick` is called once a second. Raises DsdError when no worker stays alive, and
    DatabaseUnavailable when the database is away for ten minutes. Whatever ends this, an interrupt
    too, stops the workers first.
    """
    seen, rescued = time.monotonic(), float("-inf")
    try:
        fleet.start(one_node=sqlite_file(store.url) is not None)
        while True:
            try:
                if time.monotonic() - rescued > RESCUE_S:
                    rescue_dead(store)
                    rescued = time.monotonic()
                left = pending(store, populations)
                tick()
                seen = time.monotonic()
            except DatabaseUnavailable:
                if time.monotonic() - seen > AWAY_S:
                    raise
            else:
                if not left:
                    break
                fleet.look()
            time.sleep(LOOK_S)
    finally:
        fleet.stop()
