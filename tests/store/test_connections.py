"""What a worker asks of a server: no connection while it trains; a pooler may stand between."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from dsd.store import queue
from dsd.store.engine import Store, open_store
from dsd.store.merge import merge
from dsd.store.populations import save_sample
from dsd.store.results import frame, status
from tests.store.server import NoServer, Server, pgbouncer


def held(server: Server, name: str) -> int:
    """Connections to a database now."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(f"host={server.folder} user=dsd dbname=postgres") as connection:
        return int(connection.execute(asked, (name,)).fetchone()[0])  # type: ignore[index]


def train(store: Store, owner: str) -> bool:
    claim = queue.claim(store, owner)
    if claim is None:
        return False
    for epoch in (1, 2):
        assert queue.beat(store, claim)
        assert queue.record_epoch(store, claim, {"epoch": epoch, "test_error": 50.0})
    return queue.finish(store, claim, error_last=50.0, error_lowest=50.0)


def test_a_worker_holds_no_connection_between_its_words(
    postgresql_server: Server, postgresql_url: str, draw: Any
) -> None:
    store = open_store(postgresql_url, pooled=False)
    save_sample(store, draw(1))
    assert train(store, queue.register_worker(store, "cpu"))
    assert queue.pending(store) == 0
    name = str(store.url.database)
    assert held(postgresql_server, name) == 0
    kept = open_store(postgresql_url)
    assert queue.pending(kept) == 0
    assert held(postgresql_server, name) > 0, "other commands keep theirs: it is quicker"
    kept.close()


@pytest.mark.parametrize("pooled", [False, True])
def test_all_works_through_a_pooler_in_transaction_mode(
    postgresql_server: Server, postgresql_url: str, sqlite_url: str, draw: Any, pooled: bool
) -> None:
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    try:
        with pgbouncer(postgresql_server, name, connections=2) as url:
            # Two clients that take turns on two connections, more often than psycopg prepares.
            stores = [open_store(url, pooled=pooled) for _ in "ab"]
            save_sample(stores[0], draw(8))
            file = open_store(sqlite_url)
            save_sample(file, draw(12, "other"))
            merge(stores[1], file)
            owners = [queue.register_worker(store, "cpu") for store in stores]
            while all(train(*one) for one in zip(stores, owners, strict=True)):
                assert status(stores[0]).workers
            assert set(frame(stores[1])["state"]) == {"done"}
            for store in stores:
                store.close()
    except NoServer as error:
        pytest.skip(str(error))


def fill(server: Server, crowd: list[Any]) -> None:
    """Connect until the server takes no more."""
    while True:
        crowd.append(psycopg.connect(f"host={server.folder} user=dsd dbname=postgres"))


@pytest.mark.timeout(60)
def test_a_full_server_is_waited_for(postgresql_server: Server, postgresql_url: str) -> None:
    crowd: list[Any] = []
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        fill(postgresql_server, crowd)
    leaving = threading.Timer(0.5, lambda: [one.close() for one in crowd])
    leaving.start()
    try:
        store = open_store(postgresql_url)
        assert not leaving.is_alive(), "there was no place before they left"
        assert queue.pending(store) == 0
        store.close()
    finally:
        leaving.join()
