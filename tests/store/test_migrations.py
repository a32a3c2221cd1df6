"""The schema's history: complete, reversible, all or nothing, and never in a database's way."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from dsd.errors import DsdError
from dsd.resources import resource
from dsd.store import migrate, queue
from dsd.store.connect import database_engine
from dsd.store.engine import Store, open_store, reading, writing
from dsd.store.location import database_url
from dsd.store.notes import add_note, find_subject
from dsd.store.populations import save_sample
from dsd.store.results import frame
from dsd.store.schema import Base
from dsd.store.timings import Conditions, save_timing

NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9000", "{head}", None, None

def upgrade():
    recreate = "always" if op.get_bind().dialect.name == "sqlite" else "auto"
    with op.batch_alter_table("networks", recreate=recreate) as batch:
        batch.add_column(sa.Column("extra", sa.Integer(), nullable=True))
    {then}
"""


@pytest.fixture
def alembic(url: str) -> Iterator[Any]:
    """Run an Alembic command on a fresh database, as the command line does."""
    from alembic import command
    from alembic.config import Config

    engine = database_engine(database_url(url), foreign_keys=False)

    def run(name: str, *given: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(resource("migrations")))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(command, name)(config, *given)

    yield run
    engine.dispose()


def with_next(folder: Path, then: str = "") -> Path:
    """The migrations with one more revision."""
    scripts = folder / "migrations"
    if not scripts.exists():
        shutil.copytree(resource("migrations"), scripts)
    head = migrate.revisions(resource("migrations"))[-1]
    new = scripts / "versions" / "9000_next.py"
    new.write_text(NEXT.format(head=head, then=then or "pass"))
    return scripts


def prepare(store: Store, scripts: Path) -> None:
    migrate.prepare(
        store.read, lambda: database_engine(store.url, foreign_keys=False), scripts=scripts
    )


def stored_revision(store: Store) -> str | None:
    with reading(store) as connection:
        return migrate.revision(connection)


def test_the_tables_are_what_the_code_declares(alembic: Any) -> None:
    alembic("check")


def test_down_and_up_again(alembic: Any, url: str, draw: Any) -> None:
    alembic("downgrade", "base")
    with pytest.raises(DsdError, match="is empty: `dsd sample"):
        open_store(url, write=False)
    store = open_store(url)
    assert save_sample(store, draw(2)).added == 2
    alembic("check")


def everything(store: Store) -> dict[str, list[Any]]:
    with reading(store) as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=str)
            for table in Base.metadata.sorted_tables
        }


def worked_with(url: str, draw: Any) -> Store:
    """A database with runs in several states, epochs and a late result."""
    store = open_store(url)
    save_sample(store, draw(6))
    owner = queue.register_worker(store, "cpu")
    for state in ("done", "failed", "running", "lost"):
        held = queue.claim(store, owner, lease_s=0.0 if state == "lost" else 60.0)
        assert held
        queue.record_epoch(store, held, {"epoch": 1, "train_loss": 1.0})
        if state == "failed":
            queue.fail(store, held, message="crash", trace="trace")
        elif state == "lost":
            time.sleep(0.05)
            assert queue.claim(store, owner)
        if state in ("done", "lost"):
            queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    return store


def test_down_and_up_again_keeps_every_row(alembic: Any, url: str, draw: Any) -> None:
    store = worked_with(url, draw)
    before = everything(store)
    assert before["late_results"]
    for _ in migrate.revisions(resource("migrations"))[1:]:
        store.close()
        alembic("downgrade", "-1")
    alembic("upgrade", "head")
    assert everything(store) == before
    assert queue.claim(store, queue.register_worker(store, "cpu"))
    store.close()


def test_no_downgrade_loses_what_the_older_schema_cannot_hold(
    alembic: Any, url: str, draw: Any
) -> None:
    store = worked_with(url, draw)
    add_note(store, find_subject(store, str(frame(store)["run"][0])), "odd", "ann")
    before = everything(store)
    store.close()
    with pytest.raises(RuntimeError, match="its 1 rows would go"):
        alembic("downgrade", "0001")
    assert everything(store) == before
    store.close()


def test_selections_and_times_hold_a_downgrade_back(alembic: Any, url: str, draw: Any) -> None:
    store = open_store(url)
    save_sample(store, draw(1, "chosen"), kind="selection")
    store.close()
    with pytest.raises(RuntimeError, match="knows no selections: its 1 rows would go"):
        alembic("downgrade", "0002")
    conditions = Conditions("cpu", "2", 28, 1, "fp32")
    save_timing(store, draw(1).archs[0], conditions, "host", {"samples": 1, "training_ms": 1.0})
    store.close()
    with pytest.raises(RuntimeError, match="no table timings: its 1 rows would go"):
        alembic("downgrade", "0002")
    alembic("check")


def test_revisions_are_numbered_in_order() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(resource("migrations")))
    ours = migrate.revisions(resource("migrations"))
    assert [script.revision for script in scripts.walk_revisions()] == ours[::-1]
    assert scripts.get_current_head() == ours[-1]


def test_a_fresh_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "100% new.db"
    for _ in range(2):
        open_store(str(path)).close()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_an_upgrade_keeps_every_row_and_leaves_a_backup(
    sqlite_url: str, tmp_path: Path, draw: Any
) -> None:
    store = open_store(sqlite_url)
    save_sample(store, draw(20))
    owner = queue.register_worker(store, "cpu")
    held = queue.claim(store, owner)
    assert held
    assert queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    before = frame(store)
    prepare(store, with_next(tmp_path))
    assert stored_revision(store) == "9000"
    assert frame(store).equals(before), "a rebuilt parent table took no child row along"
    with writing(store) as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    (backup,) = Path(sqlite_url).parent.glob("dsd.db.*.bak")
    old = open_store(str(backup), write=False)
    assert stored_revision(old) != "9000"
    assert frame(old).equals(before)


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    url: str, tmp_path: Path, draw: Any
) -> None:
    store = open_store(url)
    save_sample(store, draw(3))
    before, revision = frame(store), stored_revision(store)
    with pytest.raises(ZeroDivisionError):
        prepare(store, with_next(tmp_path, then="1 / 0"))
    assert stored_revision(store) == revision
    assert frame(store).equals(before)
    with reading(store) as connection:
        columns = connection.execute(text("SELECT * FROM networks")).keys()
    assert "extra" not in columns
    prepare(store, with_next(tmp_path))
    assert stored_revision(store) == "9000"


def test_no_backup_no_upgrade(sqlite_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    store = open_store(sqlite_url)
    revision = stored_revision(store)

    def full(*given: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DsdError, match=r"was not upgraded: its backup .* failed: No space left"):
        prepare(store, with_next(tmp_path))
    assert stored_revision(store) == revision
    assert [one.name for one in Path(sqlite_url).parent.iterdir()] == ["dsd.db"]


def test_a_newer_schema_is_refused(store: Store, url: str) -> None:
    with writing(store) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for write in (True, False):
        with pytest.raises(DsdError, match=r"schema 9999, newer than this dsd.*pip install -U dsd"):
            open_store(url, write=write)


def test_an_older_schema_is_upgraded_by_writers_only(store: Store, tmp_path: Path) -> None:
    scripts = with_next(tmp_path)
    older = r"older schema .*dsd db upgrade"
    with pytest.raises(DsdError, match=older), reading(store) as connection:
        migrate.check(connection, scripts)
    prepare(store, scripts)
    with reading(store) as connection:
        migrate.check(connection, scripts)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE trials (id)")
    for write in (True, False):
        with pytest.raises(DsdError, match="tables of another program"):
            open_store(str(path), write=write)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("trials",)]


def test_alembic_ini_serves_the_command_line(sqlite_url: str) -> None:
    import subprocess
    import sys

    root = resource("migrations").parent
    command = [sys.executable, "-m", "alembic", "-x", f"url={sqlite_url}", "check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "No new upgrade operations" in done.stdout


RELEASED = Path(__file__).parent / "databases"


@pytest.mark.parametrize("revision", [file.stem for file in sorted(RELEASED.glob("*.db"))])
def test_a_database_of_every_released_revision_is_upgraded_and_worked_with(
    revision: str, tmp_path: Path
) -> None:
    """Each file holds real runs of that time, one in each state, and one whose worker was lost."""
    path = Path(shutil.copy(RELEASED / f"{revision}.db", tmp_path / "dsd.db"))
    with sqlite3.connect(path) as before:
        errors = before.execute("SELECT id, error_last FROM runs ORDER BY id").fetchall()
        epochs = before.execute("SELECT * FROM epochs ORDER BY run_id, attempt, epoch").fetchall()
    store = open_store(str(path))
    assert stored_revision(store) == migrate.revisions(resource("migrations"))[-1]
    table = frame(store)
    assert list(table.sort_values("run")[["run", "error_last"]].drop_duplicates().run) == [
        run for run, _ in errors
    ]
    assert table.set_index("run").error_last.dropna().to_dict() == {
        run: error for run, error in errors if error is not None
    }
    with reading(store) as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        kept = connection.exec_driver_sql("SELECT * FROM epochs ORDER BY run_id, attempt, epoch")
        assert [tuple(row) for row in kept] == epochs
    owner = queue.register_worker(store, "cpu")
    for _ in range(2):  # the one that waited, and the one whose worker was lost
        held = queue.claim(store, owner)
        assert held
        assert queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    assert queue.claim(store, owner) is None
    backups = [one for one in tmp_path.iterdir() if one.suffix == ".bak"]
    assert len(backups) == (revision != migrate.revisions(resource("migrations"))[-1])
    store.close()


def test_every_released_revision_has_its_database() -> None:
    older = migrate.revisions(resource("migrations"))[:-1]
    assert {file.stem for file in RELEASED.glob("*.db")} >= set(older)
