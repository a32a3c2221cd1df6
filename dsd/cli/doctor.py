"""`dsd doctor`: what is well here, and how to mend what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab

Finding = tuple[str, bool, str]  # what was looked at, whether it is well, what there is


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_lab
def doctor(lab: Lab, as_json: bool) -> None:
    """Look at Python, torch, the GPU, the database, the dataset and the declarations.

    Exit code 1 if something has to be mended.
    """
    found = list(_findings(lab))
    if as_json:
        keys = ("what", "ok", "found")
        click.echo(json.dumps([dict(zip(keys, one, strict=True)) for one in found], indent=2))
    else:
        for what, well, said in found:
            click.echo(f"{'ok' if well else 'mend':<6}{what:<14}{said}")
    if not all(well for _, well, _ in found):
        raise SystemExit(1)


def _findings(lab: Lab) -> Iterator[Finding]:
    for what, look in LOOKS.items():
        try:
            for well, said in look(lab):
                yield what, well, said
        except Exception as error:
            yield what, False, " ".join(str(error).split()) or type(error).__name__


def _python(lab: Lab) -> Iterator[tuple[bool, str]]:
    import dsd

    found = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 11), f"{found}, dsd {dsd.__version__}"


def _torch(lab: Lab) -> Iterator[tuple[bool, str]]:
    import torch

    try:
        import torchvision
    except Exception as error:  # a wheel that does not fit torch fails in many ways
        yield False, (f"torchvision cannot be imported ({error}): install both from one place, "
                      f"`pip install -U torch torchvision`")  # fmt: skip
        return
    yield True, f"torch {torch.__version__}, torchvision {torchvision.__version__}"


def _device(lab: Lab) -> Iterator[tuple[bool, str]]:
    import torch

    from dsd.train.device import CPU, device_name, gpus

    there = gpus()
    if not there:
        built = torch.version.cuda or torch.version.hip
        why = "no driver or no GPU here" if built else "this torch is built for the CPU only"
        yield True, f"{device_name(CPU)}; no GPU: {why}"
    for device in there:
        words = device_name(device)
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            words += f", {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        yield True, words


def _database(lab: Lab) -> Iterator[tuple[bool, str]]:
    import shutil

    from dsd.store.location import database_url, network_file_system, sqlite_file

    file = sqlite_file(database_url(lab.settings.db))
    if file:
        kind = network_file_system(file)
        if kind:
            yield False, (f"{file} lies on {kind}, where SQLite loses data: use a local disk, or "
                          f"--db postgresql://user@host/name")  # fmt: skip
        free = shutil.disk_usage(file.parent).free
        yield free > 2**28, f"{file}, {free / 2**30:.1f} GiB free on its disk"
        if not file.exists():
            yield True, "not there yet: `dsd sample SPACE --n 500` makes it"
            return
    yield from _contents(lab)


def _contents(lab: Lab) -> Iterator[tuple[bool, str]]:
    import time

    from sqlalchemy import select

    from dsd.store.clock import now
    from dsd.store.engine import reading
    from dsd.store.integrity import check, stats

    known = stats(lab.reader)
    journal = f", journal {known['journal']}" if "journal" in known else ""
    yield True, f"schema {known['schema']}{journal}, {known['rows']['runs']:,} runs"
    broken = [f"{what}: {wrong}" for what, wrong in check(lab.reader) if wrong]
    yield not broken, "; ".join(broken) or "whole (`dsd db check`)"
    with reading(lab.reader) as connection:
        apart = connection.execute(select(now())).scalar_one() - time.time()
    if abs(apart) > 5:
        yield True, f"its clock is {apart:+.0f} s from this machine's; leases go by its clock"


def _sqlite(lab: Lab) -> Iterator[tuple[bool, str]]:
    import sqlite3

    from dsd.store.connect import journal_mode

    mode = journal_mode(sqlite3.sqlite_version_info)
    why = "" if mode == "wal" else " (WAL is not safe before 3.51.3, 3.50.7 or 3.44.6)"
    yield True, f"{sqlite3.sqlite_version}, new files use the journal mode {mode}{why}"


def _postgres(lab: Lab) -> Iterator[tuple[bool, str]]:
    try:
        yield True, f"psycopg {version('psycopg')}"
    except PackageNotFoundError:
        wanted = "://" in lab.settings.db
        yield not wanted, "psycopg is not installed: pip install 'dsd[postgres]' for PostgreSQL"


def _dataset(lab: Lab) -> Iterator[tuple[bool, str]]:
    from dsd.regime import load_regime
    from dsd.train.data import check

    regime = load_regime(lab.settings.regime)
    check(regime, Path(lab.settings.data))
    yield True, f"{regime.dataset}, for the regime {regime.name}, can be read"


def _declared(lab: Lab) -> Iterator[tuple[bool, str]]:
    from dsd.regime import load_regime, regime_names
    from dsd.space.spec import load_space, space_names

    for name in space_names():
        load_space(name)
    for name in regime_names():
        load_regime(name)
    yield True, f"{len(space_names())} spaces, {len(regime_names())} regimes can be read"


LOOKS: dict[str, Callable[[Lab], Iterator[tuple[bool, str]]]] = {
    "python": _python,
    "torch": _torch,
    "device": _device,
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "database": _database,
    "declarations": _declared,
    "dataset": _dataset,
}
