"""Opening databases: what is accepted, what is refused, and what an error may say."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dsd.errors import DsdError, UsageError
from dsd.store import connect, location
from dsd.store.connect import journal_mode
from dsd.store.engine import DatabaseUnavailable, Store, open_store, reading, writing
from dsd.store.location import database_url, describe, file_system


def test_paths_and_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    same = ["dsd.db", "sqlite:///dsd.db", f"sqlite:///{tmp_path}/dsd.db", str(tmp_path / "dsd.db")]
    assert {str(database_url(given)) for given in same} == {f"sqlite:///{tmp_path}/dsd.db"}
    for given in ("postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg2://u@h/d"):
        assert database_url(given).drivername == "postgresql+psycopg"
    for wrong in (
        "",
        " ",
        ":memory:",
        "sqlite://",
        "mysql://u@h/d",
        "http://x",
        "sqlite:///file:x?a",
    ):
        with pytest.raises(UsageError, match="give a path such as"):
            database_url(wrong)


def test_a_password_is_never_said() -> None:
    secret = "s3cret"
    url = f"postgresql://me:{secret}@127.0.0.1:1/db?sslpassword={secret}"
    with pytest.raises(
        DatabaseUnavailable, match=r"postgresql://me@127.0.0.1:1/db: .*Is the server"
    ) as e:
        open_store(url)
    assert secret not in str(e.value)
    assert e.value.__suppress_context__
    engine = connect.database_engine(database_url(url))
    assert secret not in repr(Store(database_url(url), engine, engine))
    with pytest.raises(UsageError) as wrong:
        open_store(f"postgresql://me:{secret}@host:port/db")
    assert secret not in str(wrong.value)
    assert describe(database_url("some.db")).endswith("/some.db")


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DsdError, match=r"No database .*none.db yet: `dsd sample"):
        open_store(str(tmp_path / "none.db"), write=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DsdError, match="is a folder"):
        open_store(str(tmp_path))
    with pytest.raises(DsdError, match="No folder"):
        open_store(str(tmp_path / "no" / "dsd.db"))
    (tmp_path / "note.db").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(DatabaseUnavailable, match="name another file"):
        open_store(str(tmp_path / "note.db"))


def test_network_file_systems_are_told_by_the_innermost_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [("/", "ext4"), ("/home", "nfs4"), ("/home/me/fast", "xfs"), ("/homely", "tmpfs")]
    paths = ["/home/me/dsd.db", "/home/me/fast/dsd.db", "/homely/x", "/x"]
    found = [file_system(Path(path), mounts) for path in paths]
    assert found == ["nfs4", "xfs", "tmpfs", "ext4"]
    assert file_system(Path("/a/b"), [("/", "ext4"), ("/a", "ext4"), ("/a", "lustre")]) == "lustre"
    assert location.network_file_system(tmp_path) is None
    import psutil

    class Mount:
        mountpoint, fstype = str(tmp_path), "fuse.sshfs"

    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Mount])
    with pytest.raises(DsdError, match=r"network file system \(fuse.sshfs\).*postgresql://"):
        open_store(str(tmp_path / "dsd.db"))


def test_wal_only_where_it_is_safe() -> None:
    safe = [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)]
    risky = [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 46, 1), (3, 50, 6), (3, 51, 0), (3, 51, 2)]
    assert {journal_mode(version) for version in safe} == {"wal"}
    assert {journal_mode(version) for version in risky} == {"delete"}


def test_the_journal_mode_of_a_file_is_changed_when_nobody_uses_it(sqlite_url: str) -> None:
    connection = sqlite3.connect(sqlite_url)
    connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    wanted = journal_mode(sqlite3.sqlite_version_info)
    store = open_store(sqlite_url)
    with writing(store) as open_connection:
        assert open_connection.exec_driver_sql("PRAGMA journal_mode").scalar() == wanted


def test_readers_cannot_write(url: str) -> None:
    for store in (open_store(url), open_store(url, write=False)):
        change = text("INSERT INTO spaces (id, name, text, digest) VALUES (1, 'a', 'b', 'c')")
        with pytest.raises((DsdError, DBAPIError)), reading(store) as connection:
            connection.execute(change)
    with pytest.raises((DsdError, DBAPIError)), writing(store) as connection:
        connection.execute(change)


def test_foreign_keys_are_enforced(store: Store) -> None:
    wrong = text("INSERT INTO populations VALUES (1, 99, 99, 0, '{}', 0, false)")
    with pytest.raises(DBAPIError), writing(store) as connection:
        connection.execute(wrong)


def test_a_locked_database_is_said_in_one_line(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_SECONDS", 0.1)
    store, other = open_store(sqlite_url), open_store(sqlite_url)
    with (
        writing(store),
        pytest.raises(DatabaseUnavailable, match=r"is locked\. Another process"),
        writing(other),
    ):
        pass
    with writing(other):
        pass


def test_status_pays_for_nothing_heavy(sqlite_url: str) -> None:
    program = """
import sys, time
from dsd.store.engine import open_store
from dsd.store.results import status
status(open_store(sys.argv[1], write=False))
heavy = {"torch", "pandas", "numpy", "scipy", "matplotlib", "alembic", "psycopg"} & set(sys.modules)
print(time.process_time(), *heavy)
"""
    command = [sys.executable, "-c", program, sqlite_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 1.2


def test_store_never_imports_torch() -> None:
    import ast

    for path in Path(connect.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[Any] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not [name for name in names if str(name).startswith("torch")], path
