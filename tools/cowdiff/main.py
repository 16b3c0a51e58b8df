"""``cowdiff``: the group of commands. Each is a module of ``cowdiff.commands``, imported when it is used.

Without a command it is ``cowdiff list``. Importing this module costs click and nothing else.
"""

import gc
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import click

from cowdiff.context import Context
from cowfs import __version__
from cowfs.cli.context import root_option
from cowfs.cli.entry import status_of
from cowfs.cli.group import LazyGroup
from cowfs.ondisk import PODMAN_ROOT_ENV

COMMANDS = {
    "list": "List the runs, the newest first.",
    "show": "List what a run changed, a line per path.",
    "text": "Show what a run changed in text files, as a unified diff.",
    "cat": "Print a file as a run left it.",
    "cp": "Copy files out of a run.",
    "who": "Say which process changed what.",
    "blame": "Say what happened to a path, and by which processes.",
    "log": "List every change in time order.",
    "why": "Say where a path lives, and whether a change of it lasts.",
    "build": "Say which step of a build changed what.",
    "tui": "Browse what a run changed in the terminal.",
    "report": "Write a page that shows what a run changed.",
    "diff": "List what two runs left differently.",
    "mount": "Mount the tree that a run left, read-only.",
    "export": "Write out what a run left or changed: a tar, a layer, an overlay directory.",
    "commit": "Make an image of what a run left.",
    "rerun": "Run the command of a run again.",
    "apply": "Give what a run changed to the directory that it ran on.",
    "undo": "Take that back.",
    "pin": "Keep runs, whatever the budgets of the store.",
    "unpin": "Let the budgets remove runs again.",
    "rm": "Remove runs.",
    "prune": "Remove old runs.",
}


@click.command(
    cls=LazyGroup,
    package="cowdiff.commands",
    table=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="cowdiff", message="%(prog)s %(version)s")
@root_option
@click.option(
    "--podman-root",
    envvar=PODMAN_ROOT_ENV,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Podman's store, as its own --root (also {PODMAN_ROOT_ENV}; what storage.conf says).",
)
@click.pass_context
def cowdiff(ctx: click.Context, root: Path, podman_root: Path | None) -> int | None:
    """See what throw-away runs changed, and containers of podman and docker.

    RUN is a run's id, an unambiguous beginning of it, a name, or "last"; or a container: podman:NAME, docker:NAME.
    """
    if os.geteuid():
        from cowfs import userns

        userns.enter()  # who is not root reads in one what was run in one
    ctx.obj = Context(root, podman_root and podman_root.absolute())
    if ctx.invoked_subcommand is None:
        from cowdiff.commands.list import command

        ctx.invoke(command)
    return None


def main() -> NoReturn:
    """The console script."""
    gc.disable()  # a scan makes a million small objects without cycles, and the process ends with it
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale that cannot show a name must not end the listing
    status = status_of(cowdiff, "cowdiff", sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # to free them one by one would take longer than many a command
