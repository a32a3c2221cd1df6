"""`dsd init`: write the project's settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab


@click.command()
@click.option("--force", is_flag=True, help="Replace a dsd.toml that is there.")
@pass_lab
def init(lab: Lab, force: bool) -> None:
    """Write dsd.toml here: database, data folder, default regime.

    \b
        dsd init --regime cifar10 --data /data
    """
    from dsd.errors import DsdError
    from dsd.regime import load_regime
    from dsd.settings import FILE, as_toml

    load_regime(lab.settings.regime)
    path = Path(FILE)
    if path.exists() and not force:
        raise DsdError(f"{FILE} is already here; --force replaces it.")
    path.write_text(as_toml(lab.settings), encoding="utf-8")
    click.echo(f"Wrote {FILE}: database {lab.settings.database}, data in {lab.settings.data}, "
               f"regime {lab.settings.regime}. Next: dsd sample anynetx_c --n 500")  # fmt: skip
