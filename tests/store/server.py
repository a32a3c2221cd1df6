"""A PostgreSQL server of our own: on a private socket, in a folder, started and killed at will."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class NoServer(Exception):
    """Why no server can be started here."""


def binaries() -> Path:
    """The folder of initdb and pg_ctl. Raises NoServer."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise NoServer("no PostgreSQL server binaries (initdb) on this machine")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def unprivileged(folder: str) -> dict[str, Any]:
    """The server refuses to run as root: another user, who owns the folder. Raises NoServer."""
    import pwd

    if os.geteuid() != 0:
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users.get("nobody")
    if user is None:
        raise NoServer("root, and no user postgres or nobody to run a PostgreSQL server as")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@dataclass
class Server:
    """One server; `folder` holds its data and its socket."""

    folder: str
    options: str = "-c fsync=off -c max_connections=60"
    _run: dict[str, Any] = field(default_factory=dict)

    def create(self) -> None:
        """Make its data folder."""
        who = unprivileged(self.folder)
        self._run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": self.folder, **who}
        made = ["-D", f"{self.folder}/data", "-U", "dsd", "-A", "trust", "-E", "UTF8"]
        subprocess.run([binaries() / "initdb", *made, "--no-locale", "-N"], **self._run)

    def control(self, *arguments: str) -> None:
        """Run pg_ctl."""
        command = [binaries() / "pg_ctl", "-D", f"{self.folder}/data", "-w", *arguments]
        subprocess.run(command, **self._run)

    def start(self) -> None:
        """Start, and wait until it answers."""
        listen = f"-k {self.folder} -c listen_addresses='' {self.options}"
        self.control("-l", f"{self.folder}/log", "-o", listen, "start")

    def kill(self) -> None:
        """Stop as a crash does: at once, without a checkpoint."""
        self.control("-m", "immediate", "stop")

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://dsd@/{name}?host={self.folder}"

    def command(self, command: str) -> None:
        """One statement outside of any transaction."""
        import psycopg

        place = f"host={self.folder} user=dsd dbname=postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(command)  # type: ignore[call-overload]


@contextmanager
def running_server(folder: str, **given: Any) -> Iterator[Server]:
    """A server for a while. Raises NoServer."""
    server = Server(folder, **given)
    binaries()
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def pgbouncer(server: Server, name: str, connections: int = 20) -> Iterator[str]:
    """The URL of a database through PgBouncer in transaction mode. Raises NoServer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise NoServer("no PgBouncer on this machine")
    with tempfile.TemporaryDirectory(prefix="dsd-bouncer-", dir="/tmp") as folder:
        who = unprivileged(folder)
        (Path(folder) / "pgbouncer.ini").write_text(
            f"[databases]\n{name} = host={server.folder} dbname={name} user=dsd\n[pgbouncer]\n"
            f"listen_addr =\nlisten_port = 6432\nunix_socket_dir = {folder}\nauth_type = any\n"
            f"pool_mode = transaction\nmax_client_conn = 5000\ndefault_pool_size = {connections}\n"
        )
        running = subprocess.Popen([program, "-q", f"{folder}/pgbouncer.ini"], cwd=folder, **who)
        try:
            while not Path(folder, ".s.PGSQL.6432").exists():
                if running.poll() is not None:
                    raise NoServer("PgBouncer does not start")
                time.sleep(0.02)
            yield f"postgresql://dsd@/{name}?host={folder}&port=6432"
        finally:
            running.kill()
            running.wait()
