"""A real SQLite file and a real PostgreSQL server; samples made of real networks and regimes."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dsd.net.arch import Arch, Stage, Stem, text_digest
from dsd.regime import Regime, load_regime
from dsd.store.engine import Store, open_store
from tests.store.server import NoServer, Server, running_server


def network(rng: random.Random) -> Arch:
    """Any network; what is drawn here need not lie in a band."""
    stages = (
        Stage(rng.randint(1, 16), 8 * rng.randint(1, 32), rng.choice([1, 2, 4]), 8) for _ in "1234"
    )
    return Arch(Stem(inputs=1, width=16), tuple(stages), classes=10)


def make_sample(
    n: int, space: str = "wide", seed: int = 0, *, stream: str = "", regime: Regime | None = None
) -> Any:
    """n distinct networks in an order that `stream` (by default space and seed) decides alone."""
    rng = random.Random(stream or f"{space} {seed}")
    archs = list(itertools.islice(_distinct(rng), n))
    text = f'{{"space":"{space}"}}'
    cost = np.array([10_000 + arch.d for arch in archs], dtype=np.int64)
    return SimpleNamespace(
        space=SimpleNamespace(name=space, text=text, digest=text_digest(text)),
        regime=regime or load_regime("fashion"),
        seed=seed,
        archs=tuple(archs),
        draws=tuple({"d1": float(a.stages[0].d), "w0": float(i)} for i, a in enumerate(archs)),
        flops=cost * 100, params=cost * 10, acts=cost,
        tally={"candidates": np.int64(7 * n), "duplicates": 1},
    )  # fmt: skip


def _distinct(rng: random.Random) -> Iterator[Arch]:
    seen: set[str] = set()
    while True:
        arch = network(rng)
        if arch.digest not in seen:
            seen.add(arch.digest)
            yield arch


@pytest.fixture
def draw() -> Callable[..., Any]:
    """make_sample, for tests in other modules."""
    return make_sample


@pytest.fixture(scope="session")
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: the tests are about locks, not about the disk."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dsd-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def sqlite_template(quick_folder: Path) -> Path:
    """An empty database at head, to be copied."""
    path = quick_folder / "template.db"
    open_store(str(path)).close()
    return path


@pytest.fixture
def sqlite_url(quick_folder: Path, sqlite_template: Path) -> str:
    """A fresh database file at head."""
    path = Path(tempfile.mkdtemp(dir=quick_folder)) / "dsd.db"
    return str(shutil.copy(sqlite_template, path))


@pytest.fixture(scope="session")
def postgresql_server(quick_folder: Path) -> Iterator[Server]:
    """A server of our own on a private socket."""
    short = len(str(quick_folder)) < 60  # a socket's path is short
    with tempfile.TemporaryDirectory(
        prefix="dsd-pg-", dir=quick_folder.parent if short else "/tmp"
    ) as folder:
        try:
            with running_server(folder) as server:
                yield server
        except NoServer as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: Server) -> str:
    """A database at head, to be copied."""
    postgresql_server.command("CREATE DATABASE template")
    open_store(postgresql_server.url("template")).close()
    return "template"


_numbers = itertools.count()


@pytest.fixture
def postgresql_url(postgresql_server: Server, postgresql_template: str) -> Iterator[str]:
    """A fresh database at head."""
    yield from _database(postgresql_server, f"TEMPLATE {postgresql_template}")


@pytest.fixture
def empty_postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """A fresh database without tables."""
    yield from _database(postgresql_server, "")


def _database(server: Server, like: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.command(f"CREATE DATABASE {name} {like}")
    yield server.url(name)
    server.command(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A fresh database at head, on each system in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """The same, open."""
    opened = open_store(url)
    yield opened
    opened.close()
