"""`dsd launch slurm`: its script, what it refuses, and that no password goes where others read."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from dsd.cli.main import cli
from dsd.errors import UsageError
from dsd.launch.slurm import cores, minutes
from dsd.store.location import database_url, identity, without_secrets
from tests.cli.conftest import Shell
from tests.launch.cluster import Cluster

SECRET = "s3cret-word"
ASKED = ("--workers", "4", "--gpus-per-worker", "1", "--time", "30", "--cpus-per-worker", "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("1:30", 2),
        ("1:30:00", 90),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("1-0:0:1", 1441),
    ],
)
def test_a_time_is_read_as_slurm_reads_it(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "0", "-5"])
def test_another_time_is_refused(text):
    with pytest.raises(UsageError, match="--time"):
        minutes(text)


def test_a_database_is_one_however_its_url_is_written():
    urls = ["postgresql://ann:x@h/lab", "postgres://bob@h:5432/lab?sslmode=require",
            "postgresql+psycopg://bob@/lab?host=h&password=y"]  # fmt: skip
    assert len({identity(database_url(url)) for url in urls}) == 1
    assert identity(database_url(urls[0])) != identity(database_url("postgresql://ann:x@h/other"))
    bare = [without_secrets(database_url(url)).render_as_string(False) for url in urls]
    assert [text.partition("://")[2] for text in bare] == [
        "ann@h/lab", "bob@h:5432/lab?sslmode=require", "bob@/lab?host=h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--workers 1 --time soon", "2-12:30:00 would work"),
        ("--workers 1 --gpus-per-worker 0", "add --cpu"),
        ("--workers 1 --sbatch lab", "account=lab"),
        ("--workers 1 --sbatch job-name=mine", "sets .*job-name.* itself"),
        ("--workers 2", "is an SQLite file, which serves one machine"),
        ("--workers 2 --db lab.db", "db merge .*lab.db"),
    ],
)
def test_wrong_input_is_answered(words: str, answer: str):
    with pytest.raises(UsageError, match=answer):
        cli.main(["launch", "slurm", *words.split()], standalone_mode=False)


def test_the_script_is_printed_without_a_password(dsd: Shell):
    dsd.environment["DSD_DB"] = f"postgresql://dsd:{SECRET}@db.example/lab"
    script = dsd("launch", "slurm", *ASKED, "--array-parallelism", "2", "--partition", "gpu",
                 "--sbatch", "account=lab", "--dry-run")  # fmt: skip
    for flag in ("array=0-3%2", "partition=gpu", "time=30", "gpus-per-node=1", "account=lab",
                 "requeue", "signal=USR2@90", "open-mode=append"):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in script
    assert "slurm-logs/%A_%a_0_log.out" in script
    assert cores(2, "no partition has this name") == 16, "without nodes to share"
    assert SECRET not in script + dsd.stderr
    assert not (dsd.folder / "slurm-logs").exists(), "nothing was submitted"


@pytest.mark.xdist_group("slurm")
def test_slurm_accepts_the_script_and_refuses_in_its_own_words(dsd: Shell, cluster: Cluster):
    dsd.environment |= {"DSD_DB": "postgresql://dsd@db.example/lab", "SLURM_CONF":
                        cluster.environment["SLURM_CONF"]}  # fmt: skip
    asked = "--partition gpu --workers 4 --gpus-per-worker 1 --time 30 --array-parallelism 2"
    script = dsd("launch", "slurm", *asked.split(), "--dry-run")
    assert "#SBATCH --cpus-per-task=1\n" in script, "a GPU's share of a node of two and two"
    (dsd.folder / "script.sh").write_text(script)
    (dsd.folder / "slurm-logs").mkdir()
    tested = subprocess.run(
        ["sbatch", "--test-only", "script.sh"], cwd=dsd.folder, env=cluster.environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    assert "to start at" in tested.stderr


@pytest.mark.xdist_group("slurm")
def test_a_fleet_is_found_again_and_stopped(slurm: Shell, cluster: Cluster):
    """Jobs that wait for their hour are found by the database, and end without a trace."""
    slurm("sample", "anynetx_a", "--n", "2")
    slurm.environment["DSD_DB"] = slurm.environment["DSD_DB"].replace("dsd@", f"dsd:{SECRET}@")
    assert "Invalid partition" in slurm.fails(
        "launch", "slurm", *ASKED, "--cpu", "--partition", "none", code=1
    )
    out = slurm("launch", "slurm", *ASKED, "--cpu", "--sbatch", "begin=now+1hour")
    job = re.search(r"Job (\d+)", out)[1]  # type: ignore[index]
    script = (slurm.folder / "slurm-logs" / f"{job}_submission.sh").read_text()
    printed = slurm("launch", "slurm", *ASKED, "--cpu", "--sbatch", "begin=now+1hour", "--dry-run")
    assert script.strip() == printed.strip()
    known = cluster.run("scontrol", "show", "job", job).encode()
    for kept in [known, *(path.read_bytes() for path in (slurm.folder / "slurm-logs").iterdir())]:
        assert SECRET.encode() not in kept
    told = json.loads(slurm("launch", "status", "slurm", "--json"))
    assert [one["state"] for one in told["jobs"]] == ["PENDING"]
    assert "jobs stopped" in slurm("launch", "stop", "slurm")
    assert not cluster.run("squeue", "-h").strip()
    assert slurm.states() == {"anynetx_a": {"queued": 2}}
