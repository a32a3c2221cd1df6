"""Care of the database through the real command line."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from pathlib import Path

RELEASED = Path(__file__).parent.parent / "store" / "databases" / "0001.db"


def test_an_older_database_is_upgraded_by_the_command_that_the_message_names(dsd):
    shutil.copy(RELEASED, dsd.folder / "dsd.db")
    message = dsd.fails("worker", "--cpu", code=1)
    assert "db upgrade" in message
    assert "0001 to" in dsd("db", "upgrade")
    assert len(list(dsd.folder.glob("*.bak"))) == 1
    assert "already" in dsd("db", "upgrade")
    assert "broken" not in dsd("db", "check")
    assert json.loads(dsd("db", "stats", "--json"))["rows"]["runs"] == 14
    dsd("db", "backup", "copy.db")
    assert "copy.db" in dsd.fails("db", "backup", "copy.db", code=2)
    merged = json.loads(dsd("db", "merge", "copy.db", "--json"))
    assert not any(merged["added"].values())
    assert (
        json.loads(dsd("db", "merge", "copy.db", "--json", "--db", "new.db"))["added"]["runs"] == 14
    )


def test_damage_is_found_and_named(dsd):
    shutil.copy(RELEASED, dsd.folder / "dsd.db")
    dsd("db", "upgrade")
    with sqlite3.connect(dsd.folder / "dsd.db") as broken:
        broken.execute("UPDATE runs SET lease_until = NULL WHERE state = 'running'")
        broken.execute("DELETE FROM members WHERE ordinal = 2")
    out = dsd("db", "check", code=1)
    assert "broken  running runs have an owner" in out
    assert "broken  sampling order" in out


def test_the_doctor_says_what_is_well_and_how_to_mend_the_rest(dsd):
    shutil.copy(RELEASED, dsd.folder / "dsd.db")
    dsd("init", "--regime", "cifar10")
    found = json.loads(dsd("doctor", "--json", code=1))
    mend = {one["what"]: one["found"] for one in found if not one["ok"]}
    assert "dsd db upgrade" in mend.pop("database")
    assert "--data" in mend.pop("dataset")
    assert not mend
    assert {"python", "torch", "device", "sqlite", "declarations"} <= {one["what"] for one in found}


def test_the_status_is_watched_until_an_interrupt(dsd):
    shutil.copy(RELEASED, dsd.folder / "dsd.db")
    dsd("db", "upgrade")
    dsd("pause", "regnetx@tiny")
    watch = dsd.popen("status", "--watch", "0.2")
    lines = [watch.stdout.readline() for _ in range(12)]
    watch.send_signal(signal.SIGINT)
    assert watch.wait(20) == 0
    assert sum("regnetx@tiny#0 (paused)" in line for line in lines) >= 1
    assert sum(line.startswith("population") for line in lines) >= 2
