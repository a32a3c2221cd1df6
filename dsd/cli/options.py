"""Options that every command shares: database, data folder, default regime, debug."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dsd.errors import UsageError, suggestion
from dsd.settings import READERS

if TYPE_CHECKING:
    from dsd.lab import Lab

F = TypeVar("F", bound=Callable[..., Any])
SHARED = {
    "db": "Database: a file or URL.  [dsd.toml, else dsd.db]",
    "data": "Folder of the datasets.  [dsd.toml, else data]",
    "regime": "Default regime: a name or a file.  [dsd.toml, else imagenet_400mf]",
}


def settings_options(command: F, without: str = "") -> F:
    """Add --db, --data, --regime (also DSD_DB, ...) and --debug; `pass_lab` reads them.

    A command that has an option of its own under such a name does `without` the shared one.
    """
    for name, text in reversed([item for item in SHARED.items() if item[0] != without]):
        option = click.option(
            f"--{name}", envvar=f"DSD_{name.upper()}", expose_value=False, callback=_remember,
            help=text, metavar=name.upper(),
        )  # fmt: skip
        command = option(command)
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show traces.")
    return debug(command)


def pass_lab(command: Callable[..., Any], without: str = "") -> Callable[..., Any]:
    """Give the command the lab that its options, its environment and dsd.toml describe."""

    @partial(settings_options, without=without)
    @click.pass_context
    def with_lab(context: click.Context, *args: Any, **options: Any) -> Any:
        from dsd.lab import open_lab

        lab: Lab = open_lab(**given_settings(context))
        return context.invoke(command, lab, *args, **options)

    return update_wrapper(with_lab, command)


def reader_option(command: F) -> F:
    """Add --reader (also DSD_READER) to a command that trains; `pass_lab` reads it."""
    return click.option(
        "--reader", envvar="DSD_READER", expose_value=False, callback=_remember,
        type=click.Choice(READERS),
        help="Reads image folders; auto: DALI on a GPU if installed.  [dsd.toml, else auto]",
    )(command)  # fmt: skip


def given_settings(context: click.Context) -> dict[str, str]:
    """What flags and environment say of each shared setting, "" where they are silent."""
    return {name: context.meta.get(f"dsd.{name}", "") for name in (*SHARED, "reader")}


def _remember(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """The innermost flag wins; an environment variable never beats a flag of the group."""
    source = context.get_parameter_source(option.name or "")
    if value and (source is click.core.ParameterSource.COMMANDLINE or not _known(context, option)):
        context.meta[f"dsd.{option.name}"] = value


def _known(context: click.Context, option: click.Parameter) -> bool:
    return f"dsd.{option.name}" in context.meta


class SuggestingGroup(click.Group):
    """A group that answers a misspelt command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UsageError(f"No command '{args[0]}'.{suggestion(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def log_option(*names: str) -> Callable[[F], F]:
    """The option `names` that logs events to a file; one that cannot be written is said first."""
    option: Callable[[F], F] = click.option(
        *names, metavar="FILE", type=click.Path(path_type=Path), callback=_writable,
        help="Append every event as a line of JSON (docs/progress.md).",
    )  # fmt: skip
    return option


def _writable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    from dsd.train.journal import check_place

    if value:
        check_place(value)
    return value
