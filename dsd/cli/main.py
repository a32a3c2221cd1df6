"""The `dsd` command: its group, and how errors end."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from dsd import __version__
from dsd.cli.best import best
from dsd.cli.compare import compare
from dsd.cli.complexity import complexity
from dsd.cli.count import count
from dsd.cli.data import data
from dsd.cli.db import db
from dsd.cli.demo import demo
from dsd.cli.doctor import doctor
from dsd.cli.edf import edf
from dsd.cli.enqueue import enqueue
from dsd.cli.export import export
from dsd.cli.fit import fit
from dsd.cli.imports import imports
from dsd.cli.init import init
from dsd.cli.launch import launch
from dsd.cli.lineage import lineage
from dsd.cli.net import net
from dsd.cli.notes import note, tag
from dsd.cli.options import SuggestingGroup, settings_options
from dsd.cli.regimes import regimes
from dsd.cli.report import report
from dsd.cli.runs import runs
from dsd.cli.sample import sample
from dsd.cli.search import search_efficiency
from dsd.cli.spaces import spaces
from dsd.cli.status import status
from dsd.cli.steer import cancel, delete, pause, resume, retry
from dsd.cli.summary import summary
from dsd.cli.timing import time
from dsd.cli.top import top
from dsd.cli.trends import trends
from dsd.cli.weights import weights
from dsd.cli.worker import worker
from dsd.errors import DsdError

# What a disk and its rights can do to any command: nothing of dsd's, so no trace is offered.
SURROUNDINGS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS,
                errno.ENOTDIR, errno.EIO)  # fmt: skip


@click.group(
    cls=SuggestingGroup,
    context_settings={"auto_envvar_prefix": "DSD", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="dsd")
@settings_options
def cli() -> None:
    """Design network design spaces: declare, sample, train, compare populations.

    \b
        dsd sample anynetx_c --n 500
        dsd worker --gpu 0
        dsd edf anynetx_d anynetx_e --plot
    """


for command in (
    init, spaces, regimes, count, net, sample, worker, launch, status, runs, edf, compare, best,
    lineage, search_efficiency, complexity, time, top, fit, trends, report, enqueue, summary,
    weights, cancel, retry, pause, resume, delete, note, tag, imports, export, data, db, doctor,
    demo,
):  # fmt: skip
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line. Exit code 2 for usage, 1 for failure, 130 for Ctrl-C.

    3 is a worker's that lacks the images of all that waits: starting it again would not help.
    """
    sys.set_int_max_str_digits(0)  # a space of many stages has more settings than 4,300 digits tell
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}{_help(error)}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if "--debug" in sys.argv or os.environ.get("DSD_DEBUG"):
            raise
        click.echo(_line(error), err=True)
        sys.exit(error.exit_code if isinstance(error, DsdError) else 1)
    sys.exit(code if isinstance(code, int) else 0)


def _help(error: click.ClickException) -> str:
    """Where a wrong option or argument is explained."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See `{context.command_path} --help`." if context else ""


def _line(error: Exception) -> str:
    """One line for an error; an unforeseen one says how to see its trace."""
    if isinstance(error, DsdError):
        return f"Error: {error}"
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        return f"Error: {f'{error.filename}: ' * bool(error.filename)}{error.strerror}."
    return f"Error: {type(error).__name__}: {text} (--debug shows the trace)"
