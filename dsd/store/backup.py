"""Copies of a database, made while others work with it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from dsd.errors import DsdError, UsageError
from dsd.store.location import describe, sqlite_file, without_secrets


def backup(url: URL, target: Path | None = None) -> Path:
    """Copy the database to a file: an SQLite file, or pg_dump's custom format; its path.

    Raises UsageError for a file that is there, DsdError where the copy fails.
    """
    file = sqlite_file(url)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    place = target or (backup_name(file, "copy") if file else Path(f"{url.database}-{stamp}.dump"))
    if place.exists():
        raise UsageError(f"{place} is there already: name another file.")
    if file:
        copy_file(file, place)
    else:
        _dump(url, place)
    return place


def backup_name(file: Path, word: str) -> Path:
    """dsd.db.0001-20261124T120000.bak, beside the file."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    return file.with_name(f"{file.name}.{re.sub('[^0-9a-z]', '', word)}-{stamp}.bak")


def copy_file(file: Path, target: Path) -> None:
    """A consistent copy of an SQLite file, whole or not at all. Raises DsdError."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    with closing(sqlite3.connect(file, timeout=60)) as copier:
        try:
            copier.execute("VACUUM INTO ?", (str(partial),))
            partial.replace(target)
        except (sqlite3.Error, OSError) as error:
            partial.unlink(missing_ok=True)
            raise DsdError(f"its backup {target} failed: {error}") from None


def _dump(url: URL, target: Path) -> None:
    plain = without_secrets(url).set(drivername="postgresql").render_as_string()
    program = shutil.which("pg_dump")
    if program is None:
        raise DsdError(f"pg_dump is not installed here. Where it is, this makes the backup: "
                       f"pg_dump --format=custom --file={target} '{describe(url)}'")  # fmt: skip
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    password = url.password or url.query.get("password")
    secret = {"PGPASSWORD": str(password)} if password else {}
    command = [program, "--format=custom", f"--file={partial}", f"--dbname={plain}"]
    done = subprocess.run(command, env={**os.environ, **secret}, capture_output=True, text=True)
    if done.returncode:
        partial.unlink(missing_ok=True)
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise DsdError(f"its backup {target} failed: {said}")
    partial.replace(target)
