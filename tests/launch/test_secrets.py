"""A worker needs few rights, and its password goes nowhere that others read."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.cli.conftest import Shell
from tests.launch.cluster import free_ports
from tests.store.server import NoServer, Server, running_server, unprivileged

SECRET = "s3cret-word"
PAGE = Path(__file__).parent.parent.parent / "docs" / "cluster.md"


@pytest.fixture
def worker(lab: Shell, server: Server) -> Iterator[Shell]:
    """A laboratory in which the page's role works, with a password in the URL."""
    name = re.search(r"@/(\w+)", lab.environment["DSD_DB"])[1]  # type: ignore[index]
    lab("sample", "anynetx_d", "--n", "2")
    (statements,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    server.command("DROP ROLE IF EXISTS dsd_worker")
    with psycopg.connect(f"host={server.folder} user=dsd dbname={name}") as connection:
        connection.execute(statements.replace("PASSWORD 'PASSWORD'", f"PASSWORD '{SECRET}'"))
    rules = Path(server.folder, "data", "pg_hba.conf")
    if SECRET not in rules.read_text():
        rules.write_text(f"local all dsd_worker scram-sha-256 # {SECRET}\n{rules.read_text()}")
        server.command("SELECT pg_reload_conf()")
    lab.environment["DSD_DB"] = f"postgresql://dsd_worker:{SECRET}@/{name}?host={server.folder}"
    yield lab
    with psycopg.connect(f"host={server.folder} user=dsd dbname={name}") as connection:
        connection.execute("DROP OWNED BY dsd_worker")


def command_lines() -> str:
    lines = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return "\n".join(" ".join(line) for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_page_s_role_works_and_its_password_is_nowhere(worker: Shell, server: Server) -> None:
    launcher = worker.popen("launch", "local", "--cpu", "--slots", "1")
    seen = ""
    while launcher.poll() is None:
        seen += command_lines()
        time.sleep(0.2)
    out, err = launcher.communicate()
    assert launcher.returncode == 0, err
    assert "dsd worker --cpu" in seen
    assert worker.states() == {"anynetx_d": {"done": 2}}
    asked = (["launch", "status", "local"], ["doctor"], ["runs", "--json"])
    said = [worker(*words) for words in asked]
    said += [(worker.folder / "dsd-workers.log").read_text(), out, err, seen]
    base = worker.environment["DSD_DB"].partition("@/")[2].partition("?")[0]
    said += [subprocess.run(["pg_dump", "-h", server.folder, "-U", "dsd", base], text=True,
                            capture_output=True, check=True).stdout]  # fmt: skip
    name = "anynetx_d@fashion#0"
    denied = worker.fails("delete", name, "--confirm", name, code=1)
    assert "permission denied" in denied
    worker.environment["DSD_DB"] = worker.environment["DSD_DB"].replace(SECRET, SECRET + "-wrong")
    assert "password authentication failed" in worker.fails("status", code=1)
    kept = worker.folder / "pgpass"
    kept.write_text(f"*:*:*:dsd_worker:{SECRET}\n")
    kept.chmod(0o600)
    bare = {"DSD_DB": f"postgresql://dsd_worker@/{base}?host={server.folder}"}
    worker.environment |= {**bare, "PGPASSFILE": str(kept)}
    assert worker.states() == {"anynetx_d": {"done": 2}}
    worker.environment |= {"PGPASSFILE": "", "DSD_DB": f"postgresql://dsd_worker:{SECRET}-wrong@"
                           f"/{base}?host={server.folder}"}  # fmt: skip
    worker("worker", "--cpu", "--debug", code=1)
    for text in [*said, denied, worker.stderr]:
        assert SECRET not in text


@pytest.mark.slow
def test_the_server_is_known_by_its_certificate(dsd: Shell, tmp_path: Path) -> None:
    """sslmode=verify-full in the URL: the right authority is talked to, another is refused."""
    with tempfile.TemporaryDirectory(prefix="dsd-pg-", dir="/tmp") as folder:
        for name in ("server", "other"):
            made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]  # fmt: skip
            subprocess.run(made, check=True, capture_output=True)
        (port,) = free_ports(1)
        options = (f"-c fsync=off -c ssl=on -c ssl_cert_file={folder}/server.crt "
                   f"-c ssl_key_file={folder}/server.key -c listen_addresses=localhost "
                   f"-c port={port}")  # fmt: skip
        try:
            user = unprivileged(folder)
            for file in Path(folder).iterdir():
                os.chown(file, user.get("user", -1), user.get("group", -1))
            with running_server(folder, options=options):
                url = f"postgresql://dsd@localhost:{port}/postgres?sslmode=verify-full&sslrootcert="
                dsd.environment["DSD_DB"] = f"{url}{folder}/server.crt"
                dsd("sample", "anynetx_d", "--n", "1", "--regime", "fashion")
                assert dsd.states() == {"anynetx_d": {"queued": 1}}
                dsd.environment["DSD_DB"] = f"{url}{folder}/other.crt"
                assert "certificate verify failed" in dsd.fails("status", code=1)
        except NoServer as error:
            pytest.skip(str(error))
