"""`dsd launch`: workers started, watched and stopped together, by engines that exist."""

from __future__ import annotations

import click

from dsd.cli.launch_local import local
from dsd.cli.launch_ray import ray
from dsd.cli.launch_slurm import slurm
from dsd.cli.launch_status import status, stop
from dsd.cli.options import SuggestingGroup


@click.group(cls=SuggestingGroup)
def launch() -> None:
    """Start, watch and stop workers together."""


for command in (local, ray, slurm, status, stop):
    launch.add_command(command)
