"""``cowfs``: the group of commands. Each command is a module of this package, imported when it is used.

A command module exports ``command``, a click.Command; it gets its :class:`~cowfs.cli.context.Context` by
``@click.pass_obj``. Importing this module costs click and nothing else.
"""

from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from cowfs import __version__
from cowfs.cli.context import Context, root_option
from cowfs.cli.entry import run

COMMANDS = {
    "mount": "Mount the merge of layers, read-only or with an upper.",
    "umount": "Unmount what mount made.",
    "info": "Say what this machine can do, and what a mount uses of it.",
    "layers": "List the layers of an image, from the bottom.",
    "explain": "Say which layer supplies a path, and what hides below it.",
    "images": "List the images in the store.",
    "rm": "Remove images from the store.",
}


class LazyGroup(click.Group):
    """A group whose commands are looked up in the table: listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"cowfs.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table for ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cowfs", message="%(prog)s %(version)s")
@root_option
@click.pass_context
def cowfs(ctx: click.Context, root: Path) -> None:
    """A copy-on-write layered file system: mount image layers, look into them, keep them in a store."""
    ctx.obj = Context(root)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """The console script."""
    run(cowfs, "cowfs")
