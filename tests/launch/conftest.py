"""A Slurm cluster and a PostgreSQL server of our own, and the command line that uses them."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.conftest import Shell, dsd, tiny  # noqa: F401
from tests.launch.cluster import Cluster, NoSlurm, running_cluster
from tests.store.server import NoServer, Server, running_server

_numbers = itertools.count()


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What the condition gives, once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two GPUs and two cores each."""
    try:
        with running_cluster() as found:
            yield found
    except NoSlurm as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that survives being killed."""
    with tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp") as folder:
        try:
            with running_server(folder, options="-c max_connections=60") as found:
                yield found
        except NoServer as error:
            pytest.skip(str(error))


@pytest.fixture
def lab(tiny: Shell, server: Server) -> Shell:  # noqa: F811
    """The tiny regime on a PostgreSQL database of its own."""
    name = f"launch_{next(_numbers)}"
    server.command(f"CREATE DATABASE {name}")
    tiny.environment |= {"DSD_REGIME": "fashion", "DSD_DB": server.url(name)}
    return tiny


@pytest.fixture
def slurm(lab: Shell, cluster: Cluster) -> Shell:
    """The same on a login node of the cluster."""
    lab.environment["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
    return lab
