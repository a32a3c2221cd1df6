"""`dsd launch slurm`: a job array of workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.launch_options import work_of, worker_options
from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command()
@click.option("--partition", metavar="NAME", help="Slurm's partition.  [Slurm's default]")
@click.option("--workers", required=True, type=click.IntRange(1), metavar="N",
              help="Tasks of the job array.")  # fmt: skip
@click.option("--gpus-per-worker", "gpus", type=click.IntRange(0), metavar="K",
              help="GPUs of each task, with a worker on each.  [1; 0 with --cpu]")  # fmt: skip
@click.option("--cpus-per-worker", "cpus", type=click.IntRange(1), metavar="K",
              help="Cores of each task.  [8 per GPU, or its share of a node; 1 with --cpu]",
              )  # fmt: skip
@click.option("--cpu", is_flag=True, help="Train on a core of each task, whatever GPUs it has.")
@click.option("--time", "limit", default="4:00:00", show_default=True,
              help="Time limit of a task; it comes back while there is work.")  # fmt: skip
@click.option("--array-parallelism", "parallel", type=click.IntRange(1), metavar="P",
              help="Tasks at a time.  [all]")  # fmt: skip
@click.option("--notice", default=90, show_default=True, type=click.IntRange(1), metavar="SECONDS",
              help="How long before its time limit a task is told.")  # fmt: skip
@click.option("--linger", default=180.0, show_default=True, type=click.FloatRange(0),
              metavar="SECONDS",
              help="A task without work waits so long for networks that others may give back.",
              )  # fmt: skip
@click.option("--sbatch", "more", multiple=True, metavar="KEY=VALUE",
              help="Any other option of sbatch: account=lab, mem=32G; repeatable.")  # fmt: skip
@worker_options
@click.option("--logs", default="slurm-logs", show_default=True,
              type=click.Path(file_okay=False, path_type=Path),
              help="Folder, seen by all nodes, for JOB_TASK_0_log.out.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the script and submit nothing.")
@pass_lab
def slurm(
    lab: Lab,
    partition: str | None,
    workers: int,
    gpus: int | None,
    cpus: int | None,
    cpu: bool,
    limit: str,
    parallel: int | None,
    notice: int,
    linger: float,
    more: tuple[str, ...],
    references: tuple[str, ...],
    max_attempts: int,
    checkpoints: str | None,
    logs: Path,
    dry_run: bool,
) -> None:
    """Train all that is queued with a Slurm job array of workers on the shared database.

    A task that reaches its time limit or is preempted gives its networks back and is requeued.
    The database's URL travels in the jobs' environment, a password in it, too; better keep that in
    ~/.pgpass. See docs/cluster.md.

    \b
        dsd launch slurm --partition gpu --workers 16 --gpus-per-worker 1 --time 8:00:00
        dsd launch slurm --workers 4 --time 30 --sbatch account=lab --dry-run
    """
    from dsd.errors import UsageError
    from dsd.launch.slurm import Ask, check_shared, devices, job_name, minutes, script, submit
    from dsd.launch.slurm_task import Task
    from dsd.store.location import database_url, without_secrets

    gpus = (0 if cpu else 1) if gpus is None else gpus
    if not gpus and not cpu:
        raise UsageError("--gpus-per-worker 0 leaves nothing to train on; add --cpu.")
    url = database_url(lab.settings.db)
    check_shared(url, workers)
    cpus = cpus or (1 if cpu else _cores(gpus, partition))
    ask = Ask(workers, minutes(limit), logs, gpus, cpus, parallel, partition, notice, _pairs(more))
    name = job_name(url)
    if dry_run:
        click.echo(script(ask, name))
        return
    work = work_of(lab, references, max_attempts, checkpoints)
    if not work.left:
        click.echo("Nothing is queued.")
        return
    bare = without_secrets(url).render_as_string()
    task = Task(bare, work.chosen, work.arguments, devices(cpu, gpus), linger)
    job = submit(ask, name, task, url.render_as_string(hide_password=False))
    click.echo(f"Job {job} ({name}): {workers} workers for {work.left} networks; logs: "
               f"{logs}{os.sep}{job}_*_log.out")  # fmt: skip
    click.echo("`dsd launch status slurm` shows them, `dsd launch stop slurm` ends them.")


def _cores(gpus: int, partition: str | None) -> int:
    from dsd.launch.slurm import cores

    return cores(gpus, partition)


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE texts as a table. Raises UsageError."""
    from dsd.errors import UsageError
    from dsd.launch.slurm import OWN

    for text in given:
        key, equals, value = text.partition("=")
        if key in OWN:
            raise UsageError(f"--sbatch {text}: dsd sets {', '.join(OWN)} itself.")
        if not (equals and value and key.replace("-", "").isalnum()):
            raise UsageError(f"--sbatch {text}: account=lab or mem=32G would work.")
    return {text.partition("=")[0]: text.partition("=")[2] for text in given}
