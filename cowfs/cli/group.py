"""A group of commands that imports a command's module only when the command is used: for cowfs and cowdiff."""

from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Each command NAME of ``table`` (names to lines for the help) is ``package.NAME.command``."""

    def __init__(self, name: str | None = None, *, package: str, table: Mapping[str, str], **more: object) -> None:
        super().__init__(name, **more)  # type: ignore[arg-type]  # click's own parameters, checked by click
        self._package = package
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, imported now."""
        if cmd_name not in self._table:
            return None
        command = import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:
            from cowfs.cli.completion import prepare

            prepare(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table for ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))
